#include "metrics/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "metrics/code_points.h"
#include "metrics/numbers.h"
#include "text/unicode.h"

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

// Letters of scripts that put spaces between words: before Thai. Hangul and Han compounds have no marked beginnings.
bool is_spaced_letter(char32_t c) noexcept {
  return c < 0x0E00 && char_class(c) == CharClass::letter;
}

// Whether `fact` at text[at] starts inside a word or number.
bool starts_inside(std::u32string_view text, size_t at, char32_t first) noexcept {
  if (at == 0) return false;
  const char32_t before = text[at - 1];
  const char32_t earlier = at > 1 ? text[at - 2] : U' ';
  if (is_spaced_letter(first)) return is_spaced_letter(before);
  if (!is_digit(first)) return false;
  const bool negative = before == U'-' && !is_digit(earlier) && char_class(earlier) != CharClass::letter;
  return is_digit(before) || (before == U'.' && is_digit(earlier)) || negative;
}

bool ends_inside(std::u32string_view text, size_t end, char32_t last) noexcept {
  if (!is_digit(last) || end == text.size()) return false;
  return is_digit(text[end]) || (text[end] == U'.' && end + 1 < text.size() && is_digit(text[end + 1]));
}

// Both normalised.
bool states(std::u32string_view text, std::u32string_view fact) {
  if (fact.empty()) return true;
  for (size_t at = text.find(fact); at != std::u32string_view::npos; at = text.find(fact, at + 1)) {
    if (!starts_inside(text, at, fact.front()) && !ends_inside(text, at + fact.size(), fact.back())) return true;
  }
  return false;
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
  const std::u32string h = normalise_numbers(hypothesis);
  size_t found = 0;
  for (const std::vector<std::string>& alternatives : facts) {
    found += std::any_of(alternatives.begin(), alternatives.end(),
                         [&](const std::string& fact) { return states(h, normalise_numbers(fact)); });
  }
  return static_cast<double>(found) / static_cast<double>(facts.size());
}

double length_ratio(std::string_view hypothesis, std::span<const std::string> references) {
  const auto length = [](std::string_view text) {
    return static_cast<double>(code_points(strip_unicode(text)).size());
  };
  const double h = length(hypothesis);
  double nearest = 0.0;
  for (const std::string& reference : references) {
    const double r = length(reference);
    if (nearest == 0.0 || std::abs(r - h) < std::abs(nearest - h)) nearest = r;
  }
  return h / std::max(nearest, 1.0);
}

}  // namespace thimble
