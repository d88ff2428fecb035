#include "metrics/line_items.h"

#include <algorithm>

#include "metrics/chrf.h"
#include "metrics/metrics.h"
#include "text/unicode.h"

namespace thimble {

std::vector<std::string_view> answer_lines(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const size_t end = text.find_first_of("\r\n");
    const std::string_view line = strip_unicode(text.substr(0, end));
    if (!line.empty()) out.push_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

std::string_view without_list_mark(std::string_view line) {
  size_t mark = 0;
  for (const std::string_view bullet : {"-", "*", "\u2022"}) {
    if (line.starts_with(bullet)) mark = bullet.size();
  }
  if (mark == 0) {
    const size_t digits = std::min(line.find_first_not_of("0123456789"), line.size());
    // Three digits would be a number of the text ("365. Day") rather than of the list.
    if (digits >= 1 && digits <= 2 && digits < line.size() && (line[digits] == '.' || line[digits] == ')')) {
      mark = digits + 1;
    }
  }
  if (mark == 0 || mark >= line.size() || line[mark] != ' ') return line;
  return strip_unicode(line.substr(mark));
}

double line_items_score(std::string_view answer, std::span<const LineItem> items, LineScore score) {
  const double perfect = score == LineScore::exact ? 1.0 : 100.0;
  if (items.empty()) return perfect;
  const std::vector<std::string_view> lines = answer_lines(answer);
  double sum = 0.0;
  for (size_t i = 0; i < std::min(lines.size(), items.size()); ++i) {
    const std::string_view line = without_list_mark(lines[i]);
    sum += score == LineScore::exact ? exact_match(line, items[i].refs) : chrf(line, items[i].refs, ChrfWords::bigrams);
  }
  return sum / static_cast<double>(std::max(lines.size(), items.size()));
}

}  // namespace thimble
