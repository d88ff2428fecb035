// Rules of form that an answer must keep, as a task file states them: cheap, deterministic, and the first thing that
// goes wrong when a model is damaged. Pure functions over the text of one answer.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

enum class JsonForm { none, any, object, array };

/// Lengths are code points, without white space at both ends of the answer. Lines with nothing but white space do not
/// count as lines.
struct FormatRules {
  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
  int64_t min_chars = 0, max_chars = kNoLimit;
  int64_t min_lines = 0, max_lines = kNoLimit;
  bool lines_as_items = false;         // as many lines as the item has items
  int64_t max_line_chars = kNoLimit;   // of every line
  JsonForm json = JsonForm::none;      // the whole answer is a JSON document of that form
  std::vector<std::string> json_keys;  // keys the object must have
  std::vector<std::string> forbid;     // texts that must not occur
  std::vector<std::string> not_end;    // texts the answer must not end with
  bool operator==(const FormatRules&) const = default;
};

/// The first rule that `answer` breaks, in words ("3 lines, expected 1 to 1"); empty when it keeps all. `n_items`:
/// lines wanted by `lines_as_items`.
std::string broken_format_rule(const FormatRules& rules, std::string_view answer, size_t n_items);

}  // namespace thimble
