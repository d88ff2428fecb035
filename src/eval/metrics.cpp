// chrF2 restates sacreBLEU's definition (Post 2018; sacrebleu/metrics/chrf.py): per order n = 1..6 the n-grams of
// hypothesis and reference are counted without white space, precision and recall are averaged over the orders that both
// have ("effective order"), and F with beta = 2 is taken of the averages.
#include "eval/metrics.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "eval/code_points.h"

namespace thimble {

namespace {

constexpr int kMaxOrder = 6;
constexpr double kBetaSquared = 4.0;

// Six code points of 21 bits, as two words.
using Ngram = std::pair<uint64_t, uint64_t>;

std::u32string without_white_space(std::string_view text) {
  std::u32string out = code_points(text);
  std::erase_if(out, is_python_space);
  return out;
}

std::vector<Ngram> sorted_ngrams(const std::u32string& text, size_t order) {
  std::vector<Ngram> out;
  if (text.size() < order) return out;
  out.reserve(text.size() - order + 1);
  for (size_t i = 0; i + order <= text.size(); ++i) {
    Ngram g{0, 0};
    for (size_t k = 0; k < order; ++k) {
      uint64_t& word = k < 3 ? g.first : g.second;
      word = (word << 21) | text[i + k];
    }
    out.push_back(g);
  }
  std::sort(out.begin(), out.end());
  return out;
}

// Size of the multiset intersection of two sorted lists.
size_t count_matches(const std::vector<Ngram>& a, const std::vector<Ngram>& b) noexcept {
  size_t matches = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) {
      ++matches, ++i, ++j;
    } else if (a[i] < b[j]) {
      ++i;
    } else {
      ++j;
    }
  }
  return matches;
}

double chrf2_one(const std::u32string& hypothesis, const std::u32string& reference) {
  double precision = 0;
  double recall = 0;
  int orders = 0;
  for (int n = 1; n <= kMaxOrder; ++n) {
    const std::vector<Ngram> h = sorted_ngrams(hypothesis, static_cast<size_t>(n));
    const std::vector<Ngram> r = sorted_ngrams(reference, static_cast<size_t>(n));
    if (h.empty() || r.empty()) break;
    const auto matches = static_cast<double>(count_matches(h, r));
    precision += matches / static_cast<double>(h.size());
    recall += matches / static_cast<double>(r.size());
    ++orders;
  }
  if (orders == 0) return 0.0;
  precision /= orders;
  recall /= orders;
  if (precision + recall == 0.0) return 0.0;
  return 100.0 * (1.0 + kBetaSquared) * precision * recall / (kBetaSquared * precision + recall);
}

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

double chrf2(std::string_view hypothesis, std::span<const std::string> references) {
  const std::u32string h = without_white_space(hypothesis);
  double best = 0.0;
  for (const std::string& r : references) best = std::max(best, chrf2_one(h, without_white_space(r)));
  return best;
}

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
