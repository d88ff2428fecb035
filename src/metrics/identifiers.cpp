#include "metrics/identifiers.h"

#include <algorithm>

#include "metrics/code_points.h"
#include "text/unicode.h"

namespace thimble {

namespace {

bool is_letter(char32_t c) noexcept {
  return char_class(c) == CharClass::letter;
}
bool is_word(char32_t c) noexcept {
  return c == U'_' || is_letter(c) || char_class(c) == CharClass::number || char_class(c) == CharClass::mark;
}
bool is_joiner(char32_t c) noexcept {
  return c == U'.' || c == U'/' || c == U':' || c == U'-' || c == U'\\' || c == U'@';
}
// Capitals that have a small letter; scripts without case have none.
bool is_capital(char32_t c) noexcept {
  return fold_case(c) != c;
}
bool is_small(char32_t c) noexcept {
  return is_letter(c) && !is_capital(c) && c < 0x530;  // Latin, Greek, Cyrillic: the scripts of fold_case()
}

// Whether the form of a word without spaces says that it is no ordinary word.
bool looks_like_code(std::u32string_view w) {
  size_t capitals = 0, small = 0, digits = 0, letters = 0;
  size_t part = 0, longest_part = 0;
  bool inner_capital = false, joined = false;
  for (size_t i = 0; i < w.size(); ++i) {
    const char32_t c = w[i];
    capitals += is_capital(c), small += is_small(c), digits += is_digit(c), letters += is_letter(c);
    part = is_word(c) ? part + 1 : 0;
    longest_part = std::max(longest_part, part);
    inner_capital = inner_capital || (i > 0 && is_capital(c) && is_small(w[i - 1]));
    // A single hyphen joins ordinary words ("well-known"), a single colon ends a phrase.
    joined = joined || c == U'_' || c == U'/' || c == U'\\' || c == U'.' || c == U'@' ||
             (c == U':' && i > 0 && w[i - 1] == U':');
  }
  if (joined) return longest_part > 1;  // not "e.g"
  return inner_capital || (letters > 0 && digits > 0) || (capitals >= 2 && small == 0);
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

// End of the word that starts at `begin`: word characters, and joiners that have word characters behind them.
size_t word_end(std::u32string_view t, size_t begin) {
  size_t end = begin;
  while (end < t.size()) {
    if (is_word(t[end])) {
      ++end;
      continue;
    }
    size_t next = end;
    while (next < t.size() && is_joiner(t[next])) ++next;
    const bool joins = next > end && next - end <= 2 && next < t.size() && is_word(t[next]);
    if (!joins) break;
    end = next;
  }
  return end;
}

class Finder {
 public:
  explicit Finder(std::string_view text) : text_(code_points(text)) {}

  std::vector<std::string> run() {
    const std::u32string_view t = text_;
    for (size_t at = 0; at < t.size();) {
      if (t[at] == U'`') {
        at = quoted(at);
      } else if (is_word(t[at])) {
        at = word(at);
      } else {
        ++at;
      }
    }
    return std::move(found_);
  }

 private:
  size_t quoted(size_t at) {
    const size_t begin = text_.find_first_not_of(U'`', at);
    const size_t end = begin == std::u32string::npos ? begin : text_.find(U'`', begin);
    if (end == std::u32string::npos) return at + 1;
    add(std::u32string_view(text_).substr(begin, end - begin));
    const size_t after = text_.find_first_not_of(U'`', end);
    return after == std::u32string::npos ? text_.size() : after;
  }

  size_t word(size_t at) {
    const std::u32string_view t = text_;
    const size_t end = word_end(t, at);
    const std::u32string_view w = t.substr(at, end - at);
    size_t dashes = 0;
    while (dashes < 2 && dashes < at && t[at - 1 - dashes] == U'-') ++dashes;
    const bool flag = dashes > 0 && (at == dashes || is_python_space(t[at - 1 - dashes])) && !is_digit(w[0]);
    const bool call = end + 1 < t.size() && t[end] == U'(' && t[end + 1] == U')';
    if (flag) {
      add(t.substr(at - dashes, w.size() + dashes));
    } else if (call || looks_like_code(w)) {
      add(w);
    }
    return end;
  }

  void add(std::u32string_view w) {
    std::string s = to_utf8(w);
    if (!s.empty() && std::find(found_.begin(), found_.end(), s) == found_.end()) found_.push_back(std::move(s));
  }

  std::u32string text_;
  std::vector<std::string> found_;
};

bool occurs_as_word(std::u32string_view text, std::u32string_view word) {
  for (size_t at = text.find(word); at != std::u32string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    const bool cut_left = at > 0 && is_word(text[at - 1]) && is_word(word.front());
    const bool cut_right = end < text.size() && is_word(text[end]) && is_word(word.back());
    if (!cut_left && !cut_right) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> identifiers(std::string_view text) {
  return Finder(text).run();
}

double identifier_recall(std::string_view hypothesis, std::span<const std::string> references) {
  const std::u32string h = code_points(hypothesis);
  double best = -1.0;
  for (const std::string& reference : references) {
    const std::vector<std::string> wanted = identifiers(reference);
    if (wanted.empty()) continue;
    const auto found = std::count_if(wanted.begin(), wanted.end(),
                                     [&](const std::string& w) { return occurs_as_word(h, code_points(w)); });
    best = std::max(best, static_cast<double>(found) / static_cast<double>(wanted.size()));
  }
  return best < 0.0 ? 1.0 : best;
}

}  // namespace thimble
