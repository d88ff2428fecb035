#include "eval/metrics.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "eval/code_points.h"

namespace thimble {

namespace {

size_t levenshtein(std::u32string_view a, std::u32string_view b) {
  while (!a.empty() && !b.empty() && a.front() == b.front()) a.remove_prefix(1), b.remove_prefix(1);
  while (!a.empty() && !b.empty() && a.back() == b.back()) a.remove_suffix(1), b.remove_suffix(1);
  if (a.size() < b.size()) std::swap(a, b);
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

std::u32string comparable(std::string_view text) {
  std::u32string out = normalise(text);
  if (!out.empty() && (out.back() == U'.' || out.back() == U'。')) out.pop_back();
  while (!out.empty() && out.back() == U' ') out.pop_back();
  return out;
}

}  // namespace

double edit_similarity(std::string_view hypothesis, std::span<const std::string> references) {
  const std::u32string h = code_points(hypothesis);
  double best = 0.0;
  for (const std::string& reference : references) {
    const std::u32string r = code_points(reference);
    const size_t longer = std::max(h.size(), r.size());
    if (longer == 0) return 1.0;
    best = std::max(best, 1.0 - static_cast<double>(levenshtein(h, r)) / static_cast<double>(longer));
  }
  return best;
}

double exact_match(std::string_view hypothesis, std::span<const std::string> references) {
  const std::u32string h = comparable(hypothesis);
  return std::any_of(references.begin(), references.end(), [&](const std::string& r) { return comparable(r) == h; })
             ? 1.0
             : 0.0;
}

double fact_recall(std::string_view hypothesis, std::span<const std::vector<std::string>> facts) {
  if (facts.empty()) return 1.0;
  const std::u32string h = normalise(hypothesis);
  size_t found = 0;
  for (const std::vector<std::string>& alternatives : facts) {
    found += std::any_of(alternatives.begin(), alternatives.end(),
                         [&](const std::string& fact) { return h.find(normalise(fact)) != std::u32string::npos; });
  }
  return static_cast<double>(found) / static_cast<double>(facts.size());
}

}  // namespace thimble
