#include "metrics/format_rules.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "metrics/code_points.h"
#include "metrics/line_items.h"
#include "text/unicode.h"

namespace thimble {

namespace {

int64_t length_of(std::string_view text) {
  return static_cast<int64_t>(code_points(text).size());
}

std::string broken_lines(const FormatRules& rules, std::string_view text, size_t n_items) {
  const std::vector<std::string_view> lines = answer_lines(text);
  const auto n = static_cast<int64_t>(lines.size());
  if (rules.lines_as_items && lines.size() != n_items) return fmt::format("{} lines, expected {}", n, n_items);
  if (n < rules.min_lines) return fmt::format("{} lines, expected at least {}", n, rules.min_lines);
  if (n > rules.max_lines) return fmt::format("{} lines, expected at most {}", n, rules.max_lines);
  for (const std::string_view line : lines) {
    const int64_t length = length_of(line);
    if (length > rules.max_line_chars) {
      return fmt::format("a line of {} characters, expected at most {}", length, rules.max_line_chars);
    }
  }
  return "";
}

std::string broken_json(const FormatRules& rules, std::string_view text) {
  Json value;
  try {
    value = parse_json(text, "answer");
  } catch (const Error&) {
    return "no valid JSON";
  }
  if (rules.json == JsonForm::object && !value.is_object()) return "JSON, but no object";
  if (rules.json == JsonForm::array && !value.is_array()) return "JSON, but no array";
  for (const std::string& key : rules.json_keys) {
    if (!value.is_object() || !value.contains(key)) return fmt::format("JSON without the key '{}'", key);
  }
  return "";
}

}  // namespace

std::string broken_format_rule(const FormatRules& rules, std::string_view answer, size_t n_items) {
  const std::string_view text = strip_unicode(answer);
  const int64_t length = length_of(text);
  if (length < rules.min_chars) return fmt::format("{} characters, expected at least {}", length, rules.min_chars);
  if (length > rules.max_chars) return fmt::format("{} characters, expected at most {}", length, rules.max_chars);
  for (const std::string& forbidden : rules.forbid) {
    if (text.find(forbidden) != std::string_view::npos) return fmt::format("contains '{}'", forbidden);
  }
  for (const std::string& end : rules.not_end) {
    if (text.ends_with(end)) return fmt::format("ends with '{}'", end);
  }
  std::string broken = broken_lines(rules, text, n_items);
  if (broken.empty() && rules.json != JsonForm::none) broken = broken_json(rules, text);
  return broken;
}

}  // namespace thimble
