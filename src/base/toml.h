// TOML configuration files (recipes, device profiles, candidate lists) with typed getters whose errors name the file,
// the line, the key, what was found and what was expected. Keys that nobody reads are errors (see only()).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

class TomlTable {
 public:
  /// Errors: as read_file (limit 1 MiB), and corrupt for a syntax error with its line.
  static TomlTable read(const std::string& path);
  /// Errors: corrupt for a syntax error with its line. `source` names the text in errors.
  static TomlTable parse(std::string_view text, const std::string& source);

  bool has(std::string_view key) const;
  std::string string(std::string_view key) const;
  std::string string(std::string_view key, std::string_view fallback) const;
  int64_t integer(std::string_view key, int64_t min, int64_t max) const;
  int64_t integer(std::string_view key, int64_t min, int64_t max, int64_t fallback) const;
  double number(std::string_view key) const;  // finite; integers count
  double number(std::string_view key, double fallback) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::vector<std::string> strings(std::string_view key) const;  // empty when missing
  std::vector<bool> booleans(std::string_view key) const;        // empty when missing
  TomlTable table(std::string_view key) const;                   // errors: corrupt when missing
  std::vector<TomlTable> tables(std::string_view key) const;     // [[key]]; empty when missing
  /// Errors: corrupt, when a key is not in `known`.
  void only(std::initializer_list<std::string_view> known) const;

  const std::string& source() const noexcept { return source_; }
  int line() const noexcept;

 private:
  struct Node;
  TomlTable(std::shared_ptr<const Node> node, std::string source)
      : node_(std::move(node)), source_(std::move(source)) {}

  std::shared_ptr<const Node> node_;
  std::string source_;
};

}  // namespace thimble
