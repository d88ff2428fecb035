// JSON from outside: bounded in size and depth before nlohmann::json sees it (its dump() and destructor recurse), with
// typed getters whose errors name the file, the key, what was found and what was expected.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace thimble {

using Json = nlohmann::json;

constexpr int kMaxJsonDepth = 64;

/// Parses one JSON document. `source` names the file (and line) in errors. Errors: corrupt for syntax, invalid UTF-8,
/// duplicate keys being last-wins, or nesting deeper than kMaxJsonDepth.
Json parse_json(std::string_view text, const std::string& source);

/// Reads and parses a file of at most `max_bytes`. Errors: as read_file and parse_json.
Json read_json_file(const std::string& path, uint64_t max_bytes);

/// A view of one JSON object that remembers its source for error messages.
class JsonObject {
 public:
  /// Errors: corrupt when `value` is no object.
  JsonObject(const Json& value, std::string source);

  bool has(std::string_view key) const;        // present and not null
  const Json& at(std::string_view key) const;  // errors: corrupt when missing
  std::string string(std::string_view key) const;
  std::string string(std::string_view key, std::string_view fallback) const;
  int64_t integer(std::string_view key, int64_t min, int64_t max) const;
  int64_t integer(std::string_view key, int64_t min, int64_t max, int64_t fallback) const;
  double number(std::string_view key) const;  // finite
  double number(std::string_view key, double fallback) const;
  bool boolean(std::string_view key, bool fallback) const;
  /// Errors: corrupt when the object has a key that is not in `known`.
  void only(std::initializer_list<std::string_view> known) const;

  const Json& json() const noexcept { return *value_; }
  const std::string& source() const noexcept { return source_; }

 private:
  const Json* value_;  // not owned
  std::string source_;
};

/// Text for the end of an error message: the type and, when short, the value ("string \"x\"", "array").
std::string describe_json(const Json& value);

}  // namespace thimble
