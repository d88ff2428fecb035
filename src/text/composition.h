// Canonical composition of Unicode texts, without the reordering of marks that full NFC begins with.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace thimble {

/// `text` with letters and the marks after them as one code point where Unicode has it ("e" and U+0301 as "é", jamo as
/// Hangul syllables): texts in NFD become NFC. Marks that are in no canonical order stay as they are.
std::u32string composed(std::u32string_view text);

struct CompositionPair {
  char32_t first, second, composed;
};
extern const CompositionPair kCompositionPairs[];  // sorted by the first two (scripts/make_composition_table.py)
extern const size_t kCompositionPairCount;

}  // namespace thimble
