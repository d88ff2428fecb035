#include "metrics/rouge.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "metrics/porter_stemmer.h"

namespace thimble {

namespace {

using Words = std::vector<std::string>;

// rouge_score leaves words of up to three letters alone.
constexpr size_t kUnstemmedLength = 3;

Words words_of(std::string_view text, Stemming stemming) {
  Words out;
  std::string word;
  const auto finish = [&] {
    if (word.empty()) return;
    const bool stem = stemming == Stemming::porter && word.size() > kUnstemmedLength;
    out.push_back(stem ? porter_stem(word) : word);
    word.clear();
  };
  for (const char c : text) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if ((lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9')) {
      word.push_back(lower);
    } else {
      finish();
    }
  }
  finish();
  return out;
}

RougeScore score(double hits, size_t n_hypothesis, size_t n_reference) {
  RougeScore s;
  s.precision = hits / static_cast<double>(std::max<size_t>(n_hypothesis, 1));
  s.recall = hits / static_cast<double>(std::max<size_t>(n_reference, 1));
  if (s.precision + s.recall > 0) s.f = 2 * s.precision * s.recall / (s.precision + s.recall);
  return s;
}

std::map<Words, int64_t> ngrams(const Words& words, size_t n) {
  std::map<Words, int64_t> out;
  for (size_t i = 0; i + n <= words.size(); ++i) {
    ++out[Words(words.begin() + static_cast<std::ptrdiff_t>(i), words.begin() + static_cast<std::ptrdiff_t>(i + n))];
  }
  return out;
}

// Longest common subsequence of a and b. Kept of its table are two rows and one bit per cell: the whole table of a long
// answer and a long reference would take gigabytes.
class CommonSubsequence {
 public:
  CommonSubsequence(const Words& a, const Words& b, bool with_path)
      : a_(&a), b_(&b), row_(b.size() + 1, 0), left_is_longer_(with_path ? (a.size() + 1) * (b.size() + 1) : 0) {
    for (size_t i = 1; i <= a.size(); ++i) {
      uint32_t diagonal = 0;  // of the row above
      for (size_t j = 1; j <= b.size(); ++j) {
        const uint32_t above = row_[j];
        if (with_path) left_is_longer_[cell(i, j)] = row_[j - 1] > above;
        row_[j] = a[i - 1] == b[j - 1] ? diagonal + 1 : std::max(above, row_[j - 1]);
        diagonal = above;
      }
    }
  }

  uint32_t length() const noexcept { return row_.back(); }

  // Marks the words of `a` on one longest subsequence: the one that rouge_score finds, by its tie rule.
  void mark(std::vector<bool>& used) const noexcept {
    for (size_t i = a_->size(), j = b_->size(); i > 0 && j > 0;) {
      if ((*a_)[i - 1] == (*b_)[j - 1]) {
        used[i - 1] = true;
        --i, --j;
      } else if (left_is_longer_[cell(i, j)]) {
        --j;
      } else {
        --i;
      }
    }
  }

 private:
  size_t cell(size_t i, size_t j) const noexcept { return i * (b_->size() + 1) + j; }

  const Words* a_;
  const Words* b_;
  std::vector<uint32_t> row_;         // lengths for a[0..i) and b[0..j), of the last i
  std::vector<bool> left_is_longer_;  // [a.size() + 1, b.size() + 1]
};

std::vector<Words> sentences_of(std::string_view text, Stemming stemming) {
  std::vector<Words> out;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (!line.empty()) out.push_back(words_of(line, stemming));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return out;
}

size_t total_words(const std::vector<Words>& sentences) noexcept {
  size_t n = 0;
  for (const Words& s : sentences) n += s.size();
  return n;
}

std::unordered_map<std::string_view, int64_t> word_counts(const std::vector<Words>& sentences) {
  std::unordered_map<std::string_view, int64_t> out;
  for (const Words& s : sentences) {
    for (const std::string& word : s) ++out[word];
  }
  return out;
}

}  // namespace

RougeScore rouge_n(std::string_view hypothesis, std::string_view reference, int n, Stemming stemming) {
  const auto order = static_cast<size_t>(std::max(n, 1));
  const Words h = words_of(hypothesis, stemming);
  const Words r = words_of(reference, stemming);
  const auto found = ngrams(h, order);
  int64_t hits = 0;
  for (const auto& [ngram, count] : ngrams(r, order)) {
    const auto match = found.find(ngram);
    if (match != found.end()) hits += std::min(count, match->second);
  }
  const auto number = [&](const Words& words) { return words.size() < order ? 0 : words.size() - order + 1; };
  return score(static_cast<double>(hits), number(h), number(r));
}

RougeScore rouge_l(std::string_view hypothesis, std::string_view reference, Stemming stemming) {
  const Words h = words_of(hypothesis, stemming);
  const Words r = words_of(reference, stemming);
  return score(CommonSubsequence(r, h, false).length(), h.size(), r.size());
}

RougeScore rouge_lsum(std::string_view hypothesis, std::string_view reference, Stemming stemming) {
  const std::vector<Words> h = sentences_of(hypothesis, stemming);
  const std::vector<Words> r = sentences_of(reference, stemming);
  auto left_in_hypothesis = word_counts(h);
  auto left_in_reference = word_counts(r);
  int64_t hits = 0;
  for (const Words& sentence : r) {
    std::vector<bool> used(sentence.size(), false);
    for (const Words& candidate : h) CommonSubsequence(sentence, candidate, true).mark(used);
    for (size_t i = 0; i < sentence.size(); ++i) {
      if (!used[i]) continue;
      int64_t& in_hypothesis = left_in_hypothesis[sentence[i]];
      int64_t& in_reference = left_in_reference[sentence[i]];
      if (in_hypothesis == 0 || in_reference == 0) continue;
      --in_hypothesis, --in_reference;
      ++hits;
    }
  }
  return score(static_cast<double>(hits), total_words(h), total_words(r));
}

}  // namespace thimble
