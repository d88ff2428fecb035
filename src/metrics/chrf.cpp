#include "metrics/chrf.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "metrics/code_points.h"

namespace thimble {

namespace {

constexpr double kBetaSquared = 4.0;

std::u32string without_white_space(const std::u32string& text) {
  std::u32string out = text;
  std::erase_if(out, is_python_space);
  return out;
}

bool is_ascii_punctuation(char32_t c) noexcept {
  return (c >= U'!' && c <= U'/') || (c >= U':' && c <= U'@') || (c >= U'[' && c <= U'`') || (c >= U'{' && c <= U'~');
}

// Words, with one punctuation mark at the end, or else at the start, a word of its own.
std::vector<std::u32string> words_of(const std::u32string& text) {
  std::vector<std::u32string> out;
  for (size_t at = 0; at < text.size();) {
    const auto begin = std::find_if_not(text.begin() + static_cast<std::ptrdiff_t>(at), text.end(), is_python_space);
    const auto end = std::find_if(begin, text.end(), is_python_space);
    at = static_cast<size_t>(end - text.begin());
    std::u32string word(begin, end);
    if (word.empty()) break;
    if (word.size() > 1 && is_ascii_punctuation(word.back())) {
      out.push_back(word.substr(0, word.size() - 1));
      out.push_back(word.substr(word.size() - 1));
    } else if (word.size() > 1 && is_ascii_punctuation(word.front())) {
      out.push_back(word.substr(0, 1));
      out.push_back(word.substr(1));
    } else {
      out.push_back(std::move(word));
    }
  }
  return out;
}

// Runs of `order` neighbours, sorted. Six code points of 21 bits fit two words.
using CharacterNgram = std::pair<uint64_t, uint64_t>;
std::vector<CharacterNgram> sorted_ngrams(const std::u32string& text, size_t order) {
  std::vector<CharacterNgram> out;
  if (text.size() < order) return out;
  out.reserve(text.size() - order + 1);
  for (size_t i = 0; i + order <= text.size(); ++i) {
    CharacterNgram g{0, 0};
    for (size_t k = 0; k < order; ++k) {
      uint64_t& word = k < 3 ? g.first : g.second;
      word = (word << 21) | text[i + k];
    }
    out.push_back(g);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::vector<std::u32string>> sorted_ngrams(const std::vector<std::u32string>& words, size_t order) {
  std::vector<std::vector<std::u32string>> out;
  for (size_t i = 0; i + order <= words.size(); ++i) {
    const auto begin = words.begin() + static_cast<std::ptrdiff_t>(i);
    out.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(order));
  }
  std::sort(out.begin(), out.end());
  return out;
}

// Size of the multiset intersection of two sorted lists.
template <typename Ngram>
int64_t count_matches(const std::vector<Ngram>& a, const std::vector<Ngram>& b) noexcept {
  int64_t matches = 0;
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

template <typename Sequence>
void count(const Sequence& hypothesis, const Sequence& reference, size_t n_orders, size_t at, ChrfCounts& counts) {
  for (size_t order = 1; order <= n_orders; ++order, ++at) {
    const auto h = sorted_ngrams(hypothesis, order);
    const auto r = sorted_ngrams(reference, order);
    counts.hypothesis[at] = r.empty() ? 0 : static_cast<int64_t>(h.size());
    counts.reference[at] = static_cast<int64_t>(r.size());
    counts.matches[at] = count_matches(h, r);
  }
}

ChrfCounts counts_of(const std::u32string& hypothesis, const std::u32string& reference, ChrfWords words) {
  ChrfCounts out;
  count(without_white_space(hypothesis), without_white_space(reference), ChrfCounts::kCharacterOrders, 0, out);
  count(words_of(hypothesis), words_of(reference), static_cast<size_t>(words), ChrfCounts::kCharacterOrders, out);
  return out;
}

}  // namespace

ChrfCounts& ChrfCounts::operator+=(const ChrfCounts& other) noexcept {
  for (size_t i = 0; i < kMaxOrders; ++i) {
    hypothesis[i] += other.hypothesis[i];
    reference[i] += other.reference[i];
    matches[i] += other.matches[i];
  }
  return *this;
}

ChrfCounts chrf_counts(std::string_view hypothesis, std::span<const std::string> references, ChrfWords words) {
  const std::u32string h = code_points(hypothesis);
  ChrfCounts best;
  double best_score = -1.0;
  for (const std::string& reference : references) {
    const ChrfCounts counts = counts_of(h, code_points(reference), words);
    if (const double score = chrf(counts); score > best_score) {
      best_score = score;
      best = counts;
    }
  }
  return best;
}

double chrf(const ChrfCounts& counts) noexcept {
  double precision = 0;
  double recall = 0;
  int n_orders = 0;
  for (size_t i = 0; i < ChrfCounts::kMaxOrders; ++i) {
    if (counts.hypothesis[i] == 0 || counts.reference[i] == 0) continue;
    const auto matches = static_cast<double>(counts.matches[i]);
    precision += matches / static_cast<double>(counts.hypothesis[i]);
    recall += matches / static_cast<double>(counts.reference[i]);
    ++n_orders;
  }
  if (n_orders == 0 || precision + recall == 0.0) return 0.0;
  precision /= n_orders;
  recall /= n_orders;
  return 100.0 * (1.0 + kBetaSquared) * precision * recall / (kBetaSquared * precision + recall);
}

double chrf(std::string_view hypothesis, std::span<const std::string> references, ChrfWords words) {
  return chrf(chrf_counts(hypothesis, references, words));
}

}  // namespace thimble
