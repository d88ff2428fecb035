#include "base/toml.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace thimble {

// Keeps the whole document alive and points at one of its tables.
struct TomlTable::Node {
  std::shared_ptr<const toml::table> document;
  const toml::table* table;
};

namespace {

constexpr uint64_t kMaxTomlBytes = 1 << 20;

[[noreturn]] void fail_type(const std::string& source, std::string_view key, const toml::node& found,
                            std::string_view expected) {
  std::ostringstream type;
  type << found.type();
  fail(ErrorCode::corrupt, "{}: line {}: key '{}': found {}, expected {}", source, found.source().begin.line, key,
       type.str(), expected);
}

const toml::node& require(const toml::table& table, std::string_view key, const std::string& source) {
  const toml::node* node = table.get(key);
  if (node == nullptr) {
    fail(ErrorCode::corrupt, "{}: line {}: key '{}' is missing", source, table.source().begin.line, key);
  }
  return *node;
}

}  // namespace

TomlTable TomlTable::read(const std::string& path) {
  return parse(read_file(path, kMaxTomlBytes), path);
}

TomlTable TomlTable::parse(std::string_view text, const std::string& source) {
  try {
    auto document = std::make_shared<const toml::table>(toml::parse(text, source));
    auto node = std::make_shared<const Node>(Node{document, document.get()});
    return TomlTable(std::move(node), source);
  } catch (const toml::parse_error& e) {
    fail(ErrorCode::corrupt, "{}: line {}: not valid TOML: {}", source, e.source().begin.line, e.description());
  }
}

int TomlTable::line() const noexcept {
  return static_cast<int>(node_->table->source().begin.line);
}

bool TomlTable::has(std::string_view key) const {
  return node_->table->contains(key);
}

std::string TomlTable::string(std::string_view key) const {
  const toml::node& v = require(*node_->table, key, source_);
  if (!v.is_string()) fail_type(source_, key, v, "a string");
  return v.as_string()->get();
}

std::string TomlTable::string(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

int64_t TomlTable::integer(std::string_view key, int64_t min, int64_t max) const {
  const toml::node& v = require(*node_->table, key, source_);
  const std::string expected = fmt::format("an integer from {} to {}", min, max);
  if (!v.is_integer()) fail_type(source_, key, v, expected);
  const int64_t value = v.as_integer()->get();
  if (value < min || value > max) {
    fail(ErrorCode::corrupt, "{}: line {}: key '{}': found {}, expected {}", source_, v.source().begin.line, key, value,
         expected);
  }
  return value;
}

int64_t TomlTable::integer(std::string_view key, int64_t min, int64_t max, int64_t fallback) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double TomlTable::number(std::string_view key) const {
  const toml::node& v = require(*node_->table, key, source_);
  const std::optional<double> value = v.is_number() ? v.value<double>() : std::nullopt;
  if (!value || !std::isfinite(*value)) fail_type(source_, key, v, "a finite number");
  return *value;
}

double TomlTable::number(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool TomlTable::boolean(std::string_view key, bool fallback) const {
  if (!has(key)) return fallback;
  const toml::node& v = require(*node_->table, key, source_);
  if (!v.is_boolean()) fail_type(source_, key, v, "true or false");
  return v.as_boolean()->get();
}

std::vector<std::string> TomlTable::strings(std::string_view key) const {
  std::vector<std::string> out;
  if (!has(key)) return out;
  const toml::node& v = require(*node_->table, key, source_);
  if (!v.is_array()) fail_type(source_, key, v, "an array of strings");
  for (const toml::node& element : *v.as_array()) {
    if (!element.is_string()) fail_type(source_, key, element, "a string");
    out.push_back(element.as_string()->get());
  }
  return out;
}

std::vector<bool> TomlTable::booleans(std::string_view key) const {
  std::vector<bool> out;
  if (!has(key)) return out;
  const toml::node& v = require(*node_->table, key, source_);
  if (!v.is_array()) fail_type(source_, key, v, "an array of true and false");
  for (const toml::node& element : *v.as_array()) {
    if (!element.is_boolean()) fail_type(source_, key, element, "true or false");
    out.push_back(element.as_boolean()->get());
  }
  return out;
}

TomlTable TomlTable::table(std::string_view key) const {
  const toml::node& v = require(*node_->table, key, source_);
  if (!v.is_table()) fail_type(source_, key, v, "a table");
  return TomlTable(std::make_shared<const Node>(Node{node_->document, v.as_table()}), source_);
}

std::vector<TomlTable> TomlTable::tables(std::string_view key) const {
  std::vector<TomlTable> out;
  if (!has(key)) return out;
  const toml::node& v = require(*node_->table, key, source_);
  if (!v.is_array()) fail_type(source_, key, v, "an array of tables");
  for (const toml::node& element : *v.as_array()) {
    if (!element.is_table()) fail_type(source_, key, element, "a table");
    out.push_back(TomlTable(std::make_shared<const Node>(Node{node_->document, element.as_table()}), source_));
  }
  return out;
}

void TomlTable::only(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, value] : *node_->table) {
    const std::string_view name = key.str();
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      fail(ErrorCode::corrupt, "{}: line {}: key '{}' is not known, expected one of: {}", source_,
           value.source().begin.line, name, fmt::join(known, ", "));
    }
  }
}

}  // namespace thimble
