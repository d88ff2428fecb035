// The tokenizers restate the rules of sacrebleu/tokenizers (13a, intl, zh), which are sequences of global replacements
// from left to right; each is a small scanner here.
#include "metrics/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "metrics/code_points.h"
#include "text/unicode.h"

namespace thimble {

namespace {

using Text = std::u32string;
using Predicate = bool (*)(char32_t) noexcept;

bool is_no_digit(char32_t c) noexcept {
  return !is_digit(c);
}
bool is_point_or_comma(char32_t c) noexcept {
  return c == U'.' || c == U',';
}
bool is_dash(char32_t c) noexcept {
  return c == U'-';
}
// ASCII punctuation and space, without ' - . , and the full set of brackets: mteval's first rule.
bool is_mteval_symbol(char32_t c) noexcept {
  return (c >= U'{' && c <= U'~') || (c >= U'[' && c <= U'`') || (c >= U' ' && c <= U'&') || (c >= U'(' && c <= U'+') ||
         (c >= U':' && c <= U'@') || c == U'/';
}
bool is_number(char32_t c) noexcept {
  return char_class(c) == CharClass::number;
}
bool is_no_number(char32_t c) noexcept {
  return !is_number(c);
}
bool is_punctuation(char32_t c) noexcept {
  return char_class(c) == CharClass::punctuation;
}
bool is_symbol(char32_t c) noexcept {
  return char_class(c) == CharClass::symbol;
}
// sacreBLEU writes the two planes of rare ideographs as '\u20000' and '\u2f800', which Python reads as U+2000 and
// U+2F80 followed by a '0': so U+2001 to U+2A6D (with the curly quotes) and U+2F81 to U+2FA1 count instead. Scores must
// equal.
bool is_chinese(char32_t c) noexcept {
  constexpr struct {
    char32_t first, last;
  } kRanges[] = {{0x3400, 0x4DB5}, {0x4E00, 0x9FBB}, {0xF900, 0xFA2D}, {0xFA30, 0xFA6A}, {0xFA70, 0xFAD9},
                 {0x2001, 0x2A6D}, {0xFF00, 0xFFEF}, {0x2E80, 0x2FDF}, {0x2FF0, 0x303F}, {0x3100, 0x312F},
                 {0x31A0, 0x31BF}, {0x31C0, 0x31EF}, {0xFE10, 0xFE1F}, {0xFE30, 0xFE4F}, {0x3200, 0x33FF}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [c](const auto& range) { return c >= range.first && c <= range.last; });
}

// Every such character between spaces.
Text set_apart(const Text& text, Predicate wanted) {
  Text out;
  for (const char32_t c : text) {
    if (wanted(c)) {
      out += {U' ', c, U' '};
    } else {
      out += c;
    }
  }
  return out;
}

// Pairs of neighbours, from left to right and without overlap, get spaces around the second (or the first) of them.
Text separate(const Text& text, Predicate first, Predicate second, bool around_second) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 == text.size() || !first(text[i]) || !second(text[i + 1])) {
      out += text[i];
      continue;
    }
    if (around_second) {
      out += {text[i], U' ', text[i + 1], U' '};
    } else {
      out += {U' ', text[i], U' ', text[i + 1]};
    }
    ++i;
  }
  return out;
}

Text mteval_13a(Text text) {
  text = set_apart(text, is_mteval_symbol);
  text = separate(text, is_no_digit, is_point_or_comma, true);
  text = separate(text, is_point_or_comma, is_no_digit, false);
  return separate(text, is_digit, is_dash, true);
}

Text mteval_14(Text text) {
  text = separate(text, is_no_number, is_punctuation, true);
  text = separate(text, is_punctuation, is_no_number, false);
  return set_apart(text, is_symbol);
}

void replace_all(Text& text, std::u32string_view from, std::u32string_view to) {
  for (size_t at = text.find(from); at != Text::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// What mteval-v13a does before its rules: line ends and the entities of SGML.
void unescape(Text& text) {
  replace_all(text, U"<skipped>", U"");
  replace_all(text, U"-\n", U"");
  replace_all(text, U"\n", U" ");
  replace_all(text, U"&quot;", U"\"");
  replace_all(text, U"&amp;", U"&");
  replace_all(text, U"&lt;", U"<");
  replace_all(text, U"&gt;", U">");
}

std::vector<Text> split(const Text& text) {
  std::vector<Text> out;
  Text word;
  for (const char32_t c : text) {
    if (!is_python_space(c)) {
      word += c;
    } else if (!word.empty()) {
      out.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) out.push_back(std::move(word));
  return out;
}

Text trimmed_right(Text text) {
  while (!text.empty() && is_python_space(text.back())) text.pop_back();
  return text;
}

using NgramCounts = std::map<std::vector<Text>, int64_t>;

NgramCounts ngrams(const std::vector<Text>& words) {
  NgramCounts out;
  for (size_t n = 1; n <= BleuCounts::kMaxOrder; ++n) {
    for (size_t i = 0; i + n <= words.size(); ++i) {
      const auto begin = words.begin() + static_cast<std::ptrdiff_t>(i);
      ++out[std::vector<Text>(begin, begin + static_cast<std::ptrdiff_t>(n))];
    }
  }
  return out;
}

}  // namespace

std::vector<std::u32string> bleu_tokens(std::string_view text, BleuTokenizer tokenizer) {
  Text line = trimmed_right(code_points(text));
  switch (tokenizer) {
    case BleuTokenizer::thirteen_a:
      unescape(line);
      line = mteval_13a(U" " + line + U" ");
      break;
    case BleuTokenizer::international:
      line = mteval_14(std::move(line));
      break;
    case BleuTokenizer::chinese:
      line.erase(line.begin(), std::find_if_not(line.begin(), line.end(), is_python_space));
      line = mteval_13a(set_apart(line, is_chinese));
      break;
  }
  return split(line);
}

BleuCounts& BleuCounts::operator+=(const BleuCounts& other) noexcept {
  for (size_t n = 0; n < kMaxOrder; ++n) {
    matches[n] += other.matches[n];
    hypothesis[n] += other.hypothesis[n];
  }
  hypothesis_length += other.hypothesis_length;
  reference_length += other.reference_length;
  return *this;
}

BleuCounts bleu_counts(std::string_view hypothesis, std::span<const std::string> references, BleuTokenizer tokenizer) {
  const std::vector<Text> words = bleu_tokens(hypothesis, tokenizer);
  BleuCounts out;
  out.hypothesis_length = static_cast<int64_t>(words.size());
  NgramCounts most;  // of any reference
  int64_t closest = -1;
  for (const std::string& reference : references) {
    const std::vector<Text> r = bleu_tokens(reference, tokenizer);
    for (const auto& [ngram, count] : ngrams(r)) {
      int64_t& highest = most[ngram];
      highest = std::max(highest, count);
    }
    const auto length = static_cast<int64_t>(r.size());
    const int64_t distance = std::abs(length - out.hypothesis_length);
    if (closest < 0 || distance < closest || (distance == closest && length < out.reference_length)) {
      closest = distance;
      out.reference_length = length;
    }
  }
  for (const auto& [ngram, count] : ngrams(words)) {
    const size_t n = ngram.size() - 1;
    out.hypothesis[n] += count;
    const auto found = most.find(ngram);
    if (found != most.end()) out.matches[n] += std::min(count, found->second);
  }
  return out;
}

double bleu(const BleuCounts& counts, BleuOrder order) noexcept {
  if (std::all_of(counts.matches.begin(), counts.matches.end(), [](int64_t m) { return m == 0; })) return 0.0;
  double smoothing = 1.0;
  double sum_of_logs = 0.0;
  size_t n_orders = 0;
  for (; n_orders < BleuCounts::kMaxOrder && counts.hypothesis[n_orders] > 0; ++n_orders) {
    const auto total = static_cast<double>(counts.hypothesis[n_orders]);
    const auto matches = static_cast<double>(counts.matches[n_orders]);
    if (matches == 0) smoothing *= 2;
    sum_of_logs += std::log(matches == 0 ? 100.0 / (smoothing * total) : 100.0 * matches / total);
  }
  // A precision that does not exist counts as 0 unless only the orders that exist are asked for.
  if (order == BleuOrder::corpus && n_orders < BleuCounts::kMaxOrder) return 0.0;
  double brevity = 1.0;
  if (counts.hypothesis_length < counts.reference_length) {
    brevity =
        std::exp(1.0 - static_cast<double>(counts.reference_length) / static_cast<double>(counts.hypothesis_length));
  }
  return brevity * std::exp(sum_of_logs / static_cast<double>(n_orders));
}

}  // namespace thimble
