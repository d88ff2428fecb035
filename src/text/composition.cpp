#include "text/composition.h"

#include <algorithm>
#include <utility>

namespace thimble {

namespace {

bool in(char32_t c, char32_t first, char32_t last) noexcept {
  return c >= first && c <= last;
}

// Unicode 15.1 §3.12: syllables are computed from the indices of their leading consonant, vowel and trailing consonant.
constexpr char32_t kSyllables = 0xAC00, kLeading = 0x1100, kVowels = 0x1161, kTrailing = 0x11A7;
constexpr char32_t kLeadingCount = 19, kVowelCount = 21, kTrailingCount = 28;

// 0 when the two do not compose.
char32_t composition(char32_t first, char32_t second) noexcept {
  if (in(first, kLeading, kLeading + kLeadingCount - 1) && in(second, kVowels, kVowels + kVowelCount - 1)) {
    return kSyllables + ((first - kLeading) * kVowelCount + (second - kVowels)) * kTrailingCount;
  }
  const bool open_syllable = in(first, kSyllables, kSyllables + kLeadingCount * kVowelCount * kTrailingCount - 1) &&
                             (first - kSyllables) % kTrailingCount == 0;
  if (open_syllable && in(second, kTrailing + 1, kTrailing + kTrailingCount - 1)) return first + (second - kTrailing);
  if (second < 0x300) return 0;  // no mark: nearly every code point ends here
  const CompositionPair* const end = kCompositionPairs + kCompositionPairCount;
  const CompositionPair* const pair =
      std::lower_bound(kCompositionPairs, end, std::pair(first, second),
                       [](const CompositionPair& p, const auto& key) { return std::pair(p.first, p.second) < key; });
  return pair != end && pair->first == first && pair->second == second ? pair->composed : 0;
}

}  // namespace

std::u32string composed(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) {
    const char32_t one = out.empty() ? 0 : composition(out.back(), c);
    if (one != 0) {
      out.back() = one;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace thimble
