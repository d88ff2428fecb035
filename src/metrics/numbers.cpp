#include "metrics/numbers.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "metrics/code_points.h"
#include "text/unicode.h"

namespace thimble {

namespace {

using View = std::u32string_view;

// First digits of the decimal digits (general category Nd) of the scripts of the Basic Multilingual Plane in use.
constexpr std::array<char32_t, 19> kZeros = {0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6,
                                             0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50, 0x0ED0,
                                             0x0F20, 0x1040, 0x17E0, 0x1810, 0xFF10};

bool is_ascii_letter(char32_t c) noexcept {
  return c >= U'a' && c <= U'z';
}
bool is_group_separator(char32_t c) noexcept {
  return c == U',' || c == U'\'' || c == 0x2019 || c == U'_' || c == 0xA0 || c == 0x202F || c == 0x2009;
}

char32_t ascii_digit(char32_t c) noexcept {
  if (c == 0x2212) return U'-';
  if (c < kZeros.front()) return c;
  for (const char32_t zero : kZeros) {
    if (c >= zero && c < zero + 10) return U'0' + (c - zero);
  }
  return c;
}

size_t digits_at(View t, size_t at) noexcept {
  size_t n = 0;
  while (at + n < t.size() && is_digit(t[at + n])) ++n;
  return n;
}

// "1,200,000" without the separators; only whole groups of three of one separator, so "10,20,300" stays a list.
std::u32string join_groups(View t) {
  std::u32string out;
  for (size_t at = 0; at < t.size();) {
    const size_t n = digits_at(t, at);
    out.append(t.substr(at, std::max<size_t>(n, 1)));
    const size_t first = at;
    at += std::max<size_t>(n, 1);
    const bool continues = first > 1 && is_group_separator(t[first - 1]) && is_digit(t[first - 2]);
    if (n < 1 || n > 3 || continues || at >= t.size() || !is_group_separator(t[at])) continue;
    const char32_t separator = t[at];
    size_t end = at;
    while (end < t.size() && t[end] == separator && digits_at(t, end + 1) == 3) end += 4;
    // "1,200,50": the last part is no group, so this is a list.
    if (end < t.size() && t[end] == separator && digits_at(t, end + 1) > 0) continue;
    for (; at < end; ++at) {
      if (is_digit(t[at])) out.push_back(t[at]);
    }
  }
  return out;
}

// Without zeros that change nothing: "007" is "7", "1.50" is "1.5". With several dots it is no number but a name.
std::u32string plain_number(View number) {
  const auto dots = std::count(number.begin(), number.end(), U'.');
  if (dots > 1) return std::u32string(number);
  View whole = number.substr(0, number.find(U'.'));
  View fraction = dots == 0 ? View() : number.substr(whole.size() + 1);
  while (whole.size() > 1 && whole.front() == U'0') whole.remove_prefix(1);
  while (!fraction.empty() && fraction.back() == U'0') fraction.remove_suffix(1);
  std::u32string out(whole);
  if (!fraction.empty()) out.append(1, U'.').append(fraction);
  return out;
}

// `number` times ten to the power of `zeros`, as text: no precision is lost.
std::u32string shifted(View number, size_t zeros) {
  if (std::count(number.begin(), number.end(), U'.') > 1) return std::u32string(number);
  const size_t dot = std::min(number.find(U'.'), number.size());
  std::u32string digits(number.substr(0, dot));
  std::u32string fraction(dot < number.size() ? number.substr(dot + 1) : View());
  fraction.resize(std::max(fraction.size(), zeros), U'0');
  digits += fraction.substr(0, zeros);
  return plain_number(digits + U'.' + fraction.substr(zeros));
}

struct NumberWord {
  View word;
  int64_t value;
};
constexpr std::array<NumberWord, 28> kSmall = {
    {{U"zero", 0},      {U"one", 1},       {U"two", 2},       {U"three", 3},    {U"four", 4},     {U"five", 5},
     {U"six", 6},       {U"seven", 7},     {U"eight", 8},     {U"nine", 9},     {U"ten", 10},     {U"eleven", 11},
     {U"twelve", 12},   {U"thirteen", 13}, {U"fourteen", 14}, {U"fifteen", 15}, {U"sixteen", 16}, {U"seventeen", 17},
     {U"eighteen", 18}, {U"nineteen", 19}, {U"twenty", 20},   {U"thirty", 30},  {U"forty", 40},   {U"fifty", 50},
     {U"sixty", 60},    {U"seventy", 70},  {U"eighty", 80},   {U"ninety", 90}}};
constexpr std::array<NumberWord, 4> kScales = {
    {{U"hundred", 2}, {U"thousand", 3}, {U"million", 6}, {U"billion", 9}}};  // powers of ten

template <size_t n>
std::optional<int64_t> look_up(const std::array<NumberWord, n>& words, View word) noexcept {
  for (const NumberWord& w : words) {
    if (w.word == word) return w.value;
  }
  return std::nullopt;
}

// Reads one cardinal in words from the start of a word: "two hundred and five thousand". Value and end, or nothing.
class Cardinal {
 public:
  Cardinal(View text, size_t at) noexcept : t_(text), end_(at) {}

  bool read() noexcept {
    size_t at = end_;
    while (true) {
      const View word = word_at(at);
      const size_t after = at + word.size();
      const bool whole = !word.empty() && (after == t_.size() || !is_digit(t_[after]));
      if (!whole || !take(word)) break;
      any_ = true;
      end_ = after;
      at = skip_joint(after);
      if (at == after) break;
    }
    return any_;
  }
  int64_t value() const noexcept { return total_ + group_; }
  size_t end() const noexcept { return end_; }

 private:
  View word_at(size_t at) const noexcept {
    size_t n = 0;
    while (at + n < t_.size() && is_ascii_letter(t_[at + n])) ++n;
    // A letter beyond a-z makes it another word.
    const bool other = at + n < t_.size() && char_class(t_[at + n]) == CharClass::letter;
    return other ? View() : t_.substr(at, n);
  }

  // Behind the space or hyphen after a word, and behind "and" where a number may go on after it.
  size_t skip_joint(size_t at) const noexcept {
    if (at >= t_.size() || (t_[at] != U' ' && t_[at] != U'-')) return at;
    if (last_power_ > 0 && t_.substr(at).starts_with(U" and ")) return at + 5;
    return at + 1;
  }

  bool take(View word) noexcept {
    if (const auto small = look_up(kSmall, word)) {
      // After "twenty" a unit may follow, after a power of ten anything, after a unit nothing.
      const bool fits = !any_ || last_power_ > 0 || (last_tens_ && *small >= 1 && *small <= 9);
      if (!fits) return false;
      group_ += *small;
      last_tens_ = *small >= 20;
      last_power_ = 0;
      return true;
    }
    const auto power = look_up(kScales, word);
    if (!power) return false;
    if (*power == 2) {
      if (any_ && (last_power_ > 0 || group_ >= 100)) return false;
      group_ = std::max<int64_t>(group_, 1) * 100;
    } else {
      if (*power >= least_scale_ || last_power_ > 2) return false;
      least_scale_ = *power;
      int64_t factor = 1;
      for (int64_t i = 0; i < *power; ++i) factor *= 10;
      total_ += std::max<int64_t>(group_, any_ ? 0 : 1) * factor;
      group_ = 0;
    }
    last_power_ = *power;
    last_tens_ = false;
    return true;
  }

  View t_;
  size_t end_;
  int64_t total_ = 0, group_ = 0, last_power_ = 0, least_scale_ = 10;
  bool any_ = false, last_tens_ = false;
};

// The text with its numbers rewritten, left to right.
class Rewriter {
 public:
  explicit Rewriter(View text) : t_(text) {}

  std::u32string run() {
    while (at_ < t_.size()) {
      const bool word_start = at_ == 0 || (!is_digit(t_[at_ - 1]) && char_class(t_[at_ - 1]) != CharClass::letter);
      if (is_digit(t_[at_])) {
        digits();
      } else if (word_start && is_ascii_letter(t_[at_]) && words()) {
        continue;
      } else {
        out_.push_back(t_[at_++]);
      }
    }
    return std::move(out_);
  }

 private:
  void digits() {
    size_t end = at_ + digits_at(t_, at_);
    while (end + 1 < t_.size() && t_[end] == U'.' && is_digit(t_[end + 1])) end += 1 + digits_at(t_, end + 1);
    std::u32string number = plain_number(t_.substr(at_, end - at_));
    at_ = end;
    for (const NumberWord& scale : kScales) {
      if (!follows(scale.word)) continue;
      number = shifted(number, static_cast<size_t>(scale.value));
      at_ += 1 + scale.word.size();
      break;
    }
    out_ += number;
    percent();
  }

  bool words() {
    Cardinal cardinal(t_, at_);
    if (!cardinal.read()) return false;
    for (const char c : std::to_string(cardinal.value())) out_.push_back(static_cast<char32_t>(c));
    at_ = cardinal.end();
    percent();
    return true;
  }

  void percent() {
    for (const View word : {View(U"percent"), View(U"per cent"), View(U"%")}) {
      if (!follows(word)) continue;
      out_.push_back(U'%');
      at_ += 1 + word.size();
      return;
    }
  }

  // " word" is next, and the word ends there.
  bool follows(View word) const noexcept {
    const size_t end = at_ + 1 + word.size();
    return at_ < t_.size() && t_[at_] == U' ' && t_.substr(at_ + 1).starts_with(word) &&
           (end == t_.size() || char_class(t_[end]) != CharClass::letter);
  }

  View t_;
  size_t at_ = 0;
  std::u32string out_;
};

}  // namespace

std::u32string normalise_numbers(std::string_view text) {
  std::u32string t = code_points(text);
  std::transform(t.begin(), t.end(), t.begin(), ascii_digit);
  return Rewriter(normalise(View(join_groups(t)))).run();
}

}  // namespace thimble
