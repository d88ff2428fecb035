// Answers that are lists: line i of the answer against item i of the task (dishes of a menu). The order is part of the
// work, so lines are not re-aligned: a dropped line costs every line after it, as it would cost the reader.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

struct LineItem {
  std::string source;             // what the line is the answer to; for reports
  std::vector<std::string> refs;  // acceptable lines, at least one
};

/// Lines of `text` that have something beside white space, without white space at their ends.
std::vector<std::string_view> answer_lines(std::string_view text);

/// `line` without the mark of a list in front: "- ", "* ", "• ", "1. ", "12) ".
std::string_view without_list_mark(std::string_view line);

enum class LineScore { exact, chrf_words };

/// Mean over items of the score of their line: 1 or 0 by exact_match(), or chrF2++ (0..100). Missing lines score 0;
/// lines beyond the last item count as items that score 0. No items: the perfect score.
double line_items_score(std::string_view answer, std::span<const LineItem> items, LineScore score);

}  // namespace thimble
