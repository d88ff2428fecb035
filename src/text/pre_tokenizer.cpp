// Every pre-tokenizer is a list of passes. A pass cuts each piece left by the pass before it: its matcher looks at one
// position and says how many characters cannot start a match and how many match after them; matches and what lies
// between them become pieces. Matchers tell of the longest unmatchable run so that no character is looked at more than
// a fixed number of times.
#include "text/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "text/unicode.h"

namespace thimble {

namespace {

struct Match {
  uint32_t gap;     // characters that start no match
  uint32_t length;  // characters that match after the gap; 0: none known yet
};

struct Range {
  uint32_t first;
  uint32_t last;
};

// Characters [begin, end) of one piece are visible to a matcher; lookahead ends there, as in llama.cpp.
class Piece {
 public:
  Piece(const SplitScratch& scratch, uint32_t end) noexcept
      : code_points_(scratch.code_points.data()), flags_(scratch.flags.data()), end_(end) {}

  uint32_t end() const noexcept { return end_; }
  uint32_t at(uint32_t pos) const noexcept { return code_points_[pos]; }
  bool is(uint32_t pos, char c) const noexcept { return pos < end_ && at(pos) == static_cast<uint8_t>(c); }
  bool is_class(uint32_t pos, CharClass c) const noexcept {
    return pos < end_ && (flags_[pos] & kCharClassMask) == static_cast<uint8_t>(c);
  }
  bool is_letter(uint32_t pos) const noexcept { return is_class(pos, CharClass::letter); }
  bool is_number(uint32_t pos) const noexcept { return is_class(pos, CharClass::number); }
  bool is_space(uint32_t pos) const noexcept { return pos < end_ && (flags_[pos] & kCharSpaceFlag) != 0; }
  bool is_newline(uint32_t pos) const noexcept { return is(pos, '\n') || is(pos, '\r'); }
  /// [^\s\p{L}\p{N}]
  bool is_rest(uint32_t pos) const noexcept {
    return pos < end_ && !is_space(pos) && !is_letter(pos) && !is_number(pos);
  }

 private:
  const uint32_t* code_points_;
  const uint8_t* flags_;
  uint32_t end_;
};

template <typename Predicate>
uint32_t run_end(uint32_t pos, Predicate&& matches) {
  while (matches(pos)) ++pos;
  return pos;
}

/// Length of 's 't 'm 'd 're 've 'll at `pos`, or 0.
uint32_t contraction(const Piece& piece, uint32_t pos, bool any_case) noexcept {
  if (!piece.is(pos, '\'') || pos + 1 >= piece.end()) return 0;
  const auto letter = [&](uint32_t p) -> uint32_t {
    if (p >= piece.end()) return 0;
    const uint32_t c = piece.at(p);
    return any_case && c >= 'A' && c <= 'Z' ? c + 32 : c;
  };
  const uint32_t a = letter(pos + 1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  const uint32_t b = letter(pos + 2);
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/// \s+(?!\S)|\s+ where a white space stands at `pos`: all but the last one when something follows.
uint32_t spaces(const Piece& piece, uint32_t pos) noexcept {
  const uint32_t end = run_end(pos, [&](uint32_t p) { return piece.is_space(p); });
  return end - pos > 1 && end < piece.end() ? end - pos - 1 : end - pos;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
Match match_gpt2(const Piece& piece, uint32_t pos) noexcept {
  if (const uint32_t n = contraction(piece, pos, false)) return {0, n};
  const uint32_t start = piece.is(pos, ' ') ? pos + 1 : pos;
  uint32_t end = start;
  if (piece.is_letter(start)) {
    end = run_end(start, [&](uint32_t p) { return piece.is_letter(p); });
  } else if (piece.is_number(start)) {
    end = run_end(start, [&](uint32_t p) { return piece.is_number(p); });
  } else if (piece.is_rest(start)) {
    end = run_end(start, [&](uint32_t p) { return piece.is_rest(p); });
  } else {
    return {0, spaces(piece, pos)};
  }
  return {0, end - pos};
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,MAX}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <uint32_t kMaxDigits>
Match match_llama3(const Piece& piece, uint32_t pos) noexcept {
  if (const uint32_t n = contraction(piece, pos, true)) return {0, n};
  const auto is_letter = [&](uint32_t p) { return piece.is_letter(p); };
  if (!piece.is_newline(pos) && !piece.is_number(pos) && (is_letter(pos) || is_letter(pos + 1))) {
    return {0, run_end(pos + 1, is_letter) - pos};
  }
  if (piece.is_number(pos)) {
    const uint32_t limit = pos + kMaxDigits;
    return {0, run_end(pos, [&](uint32_t p) { return p < limit && piece.is_number(p); }) - pos};
  }
  const uint32_t start = piece.is(pos, ' ') ? pos + 1 : pos;
  if (piece.is_rest(start)) {
    const uint32_t end = run_end(start, [&](uint32_t p) { return piece.is_rest(p); });
    return {0, run_end(end, [&](uint32_t p) { return piece.is_newline(p); }) - pos};
  }
  uint32_t after_newline = pos;
  for (uint32_t p = pos; piece.is_space(p); ++p) {
    if (piece.is_newline(p)) after_newline = p + 1;
  }
  return {0, after_newline > pos ? after_newline - pos : spaces(piece, pos)};
}

// \p{N}
Match match_number(const Piece& piece, uint32_t pos) noexcept {
  return piece.is_number(pos) ? Match{0, 1} : Match{1, 0};
}

// \p{N}+
Match match_numbers(const Piece& piece, uint32_t pos) noexcept {
  const uint32_t end = run_end(pos, [&](uint32_t p) { return piece.is_number(p); });
  return end > pos ? Match{0, end - pos} : Match{1, 0};
}

// [0-9][0-9][0-9]
Match match_three_digits(const Piece& piece, uint32_t pos) noexcept {
  const auto is_digit = [&](uint32_t p) { return p < piece.end() && piece.at(p) >= '0' && piece.at(p) <= '9'; };
  return is_digit(pos) && is_digit(pos + 1) && is_digit(pos + 2) ? Match{0, 3} : Match{1, 0};
}

// [\p{P}\$\+<=>\^~\|]+ and, for falcon, the grave accent too.
template <bool kGraveAccent>
Match match_punctuation(const Piece& piece, uint32_t pos) noexcept {
  const auto matches = [&](uint32_t p) {
    if (p >= piece.end()) return false;
    if (piece.is_class(p, CharClass::punctuation)) return true;
    const uint32_t c = piece.at(p);
    return c < 128 && std::string_view("$+<=>^~|").find(static_cast<char>(c)) != std::string_view::npos;
  };
  const uint32_t end = run_end(pos, [&](uint32_t p) { return matches(p) || (kGraveAccent && piece.is(p, '`')); });
  return end > pos ? Match{0, end - pos} : Match{1, 0};
}

// [\r\n]
Match match_newline(const Piece& piece, uint32_t pos) noexcept {
  return piece.is_newline(pos) ? Match{0, 1} : Match{1, 0};
}

// \s+$ ; the dollar is the end of the piece.
Match match_trailing_spaces(const Piece& piece, uint32_t pos) noexcept {
  const uint32_t end = run_end(pos, [&](uint32_t p) { return piece.is_space(p); });
  if (end == pos) return {1, 0};
  return end == piece.end() ? Match{0, end - pos} : Match{end - pos, 0};
}

// \s?X+ for a class X without white space.
template <typename Predicate>
Match match_spaced(const Piece& piece, uint32_t pos, Predicate&& matches) {
  const uint32_t start = piece.is_space(pos) ? pos + 1 : pos;
  const uint32_t end = run_end(start, matches);
  return end > start ? Match{0, end - pos} : Match{1, 0};
}

template <size_t kCount>
bool in_ranges(const std::array<Range, kCount>& ranges, uint32_t c) noexcept {
  const auto it =
      std::upper_bound(ranges.begin(), ranges.end(), c, [](uint32_t v, const Range& r) { return v < r.first; });
  return it != ranges.begin() && c <= std::prev(it)->last;
}

// Cased letters as DeepSeek's tokenizer.json lists them; sorted.
constexpr auto kDeepseekLetters = std::to_array<Range>({
    {'A', 'Z'},         {'a', 'z'},         {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},
    {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},
    {0x376, 0x377},     {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},
    {0x38C, 0x38C},     {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},
    {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},
    {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},
    {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
    {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},
    {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},
    {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},
    {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},
    {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},
    {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},
    {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},
    {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},
    {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB},
    {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
});

Match match_deepseek_letters(const Piece& piece, uint32_t pos) noexcept {
  return match_spaced(piece, pos,
                      [&](uint32_t p) { return p < piece.end() && in_ranges(kDeepseekLetters, piece.at(p)); });
}

// \s?[!-/:-~！-／：-～‘-‟　-。]+ ; U+3000 is white space and never punctuation here, as in llama.cpp.
Match match_deepseek_punctuation(const Piece& piece, uint32_t pos) noexcept {
  static constexpr auto kRanges = std::to_array<Range>(
      {{'!', '/'}, {':', '~'}, {0x2018, 0x201F}, {0x3001, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}});
  return match_spaced(piece, pos, [&](uint32_t p) { return p < piece.end() && in_ranges(kRanges, piece.at(p)); });
}

// [一-龥ࠀ-一가-퟿]+ without white space, which llama.cpp hides from expressions without categories.
Match match_deepseek_cjk(const Piece& piece, uint32_t pos) noexcept {
  static constexpr auto kRanges = std::to_array<Range>({{0x800, 0x9FA5}, {0xAC00, 0xD7FF}});
  const uint32_t end = run_end(
      pos, [&](uint32_t p) { return p < piece.end() && !piece.is_space(p) && in_ranges(kRanges, piece.at(p)); });
  return end > pos ? Match{0, end - pos} : Match{1, 0};
}

// \s?\p{L}+ and \s?\p{P}+
template <CharClass kClass>
Match match_spaced_class(const Piece& piece, uint32_t pos) noexcept {
  return match_spaced(piece, pos, [&](uint32_t p) { return piece.is_class(p, kClass); });
}

template <Match (*kMatch)(const Piece&, uint32_t) noexcept>
void pass(SplitScratch& scratch, uint64_t& work) {
  scratch.next_ends.clear();
  uint32_t start = 0;
  for (const uint32_t end : scratch.ends) {
    const Piece piece(scratch, end);
    uint32_t pos = start;
    while (pos < end) {
      const Match match = kMatch(piece, pos);
      work += match.gap + match.length;
      pos += match.gap;
      if (match.length == 0) continue;
      if (pos > start) scratch.next_ends.push_back(pos);
      pos += match.length;
      scratch.next_ends.push_back(pos);
      start = pos;
    }
    if (start < end) scratch.next_ends.push_back(end);
    start = end;
  }
  scratch.ends.swap(scratch.next_ends);
}

void decode_characters(std::string_view text, SplitScratch& scratch) {
  scratch.code_points.clear();
  scratch.offsets.clear();
  scratch.flags.clear();
  uint32_t offset = 0;
  while (offset < text.size()) {
    Utf8Step step = decode_utf8(text.substr(offset));
    if (!step.valid) step.length = 1;
    scratch.code_points.push_back(step.code_point);
    scratch.offsets.push_back(offset);
    scratch.flags.push_back(char_flags(step.code_point));
    offset += step.length;
  }
  scratch.offsets.push_back(offset);
}

struct PreTokenizerName {
  std::string_view name;
  PreTokenizer pre;
};

constexpr auto kPreTokenizerNames = std::to_array<PreTokenizerName>({
    {"llama-bpe", PreTokenizer::llama3},
    {"llama3", PreTokenizer::llama3},
    {"llama-v3", PreTokenizer::llama3},
    {"qwen2", PreTokenizer::qwen2},
    {"deepseek-r1-qwen", PreTokenizer::qwen2},
    {"gpt-2", PreTokenizer::gpt2},
    {"phi-2", PreTokenizer::gpt2},
    {"mpt", PreTokenizer::gpt2},
    {"smollm", PreTokenizer::smollm},
    {"starcoder", PreTokenizer::smollm},
    {"refact", PreTokenizer::smollm},
    {"deepseek-llm", PreTokenizer::deepseek_llm},
    {"deepseek-coder", PreTokenizer::deepseek_coder},
    {"falcon", PreTokenizer::falcon},
    {"default", PreTokenizer::fallback},
});

}  // namespace

std::optional<PreTokenizer> pre_tokenizer_from_name(std::string_view name) noexcept {
  for (const PreTokenizerName& known : kPreTokenizerNames) {
    if (known.name == name) return known.pre;
  }
  return std::nullopt;
}

std::string pre_tokenizer_names() {
  std::string names;
  for (const PreTokenizerName& known : kPreTokenizerNames) {
    if (!names.empty()) names += ", ";
    names += known.name;
  }
  return names;
}

void split_words(PreTokenizer pre, std::string_view text, SplitScratch& scratch, uint64_t& work) {
  decode_characters(text, scratch);
  const auto n_characters = static_cast<uint32_t>(scratch.code_points.size());
  work += n_characters;
  scratch.ends.clear();
  if (n_characters == 0) return;
  scratch.ends.push_back(n_characters);
  switch (pre) {
    case PreTokenizer::llama3:
      pass<match_llama3<3>>(scratch, work);
      break;
    case PreTokenizer::qwen2:
      pass<match_llama3<1>>(scratch, work);
      break;
    case PreTokenizer::gpt2:
      pass<match_gpt2>(scratch, work);
      break;
    case PreTokenizer::smollm:
      pass<match_number>(scratch, work);
      pass<match_gpt2>(scratch, work);
      break;
    case PreTokenizer::deepseek_llm:
      pass<match_newline>(scratch, work);
      pass<match_deepseek_letters>(scratch, work);
      pass<match_deepseek_punctuation>(scratch, work);
      pass<match_trailing_spaces>(scratch, work);
      pass<match_deepseek_cjk>(scratch, work);
      pass<match_numbers>(scratch, work);
      break;
    case PreTokenizer::deepseek_coder:
      pass<match_newline>(scratch, work);
      pass<match_spaced_class<CharClass::letter>>(scratch, work);
      pass<match_spaced_class<CharClass::punctuation>>(scratch, work);
      pass<match_deepseek_cjk>(scratch, work);
      pass<match_number>(scratch, work);
      break;
    case PreTokenizer::falcon:
      pass<match_punctuation<true>>(scratch, work);
      pass<match_gpt2>(scratch, work);
      pass<match_three_digits>(scratch, work);
      break;
    case PreTokenizer::fallback:
      pass<match_punctuation<false>>(scratch, work);
      pass<match_gpt2>(scratch, work);
      pass<match_numbers>(scratch, work);
      pass<match_three_digits>(scratch, work);
      break;
  }
}

}  // namespace thimble
