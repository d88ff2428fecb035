// Unicode code points for metrics: UTF-8 decoding, white space, case folding. Bytes that are no UTF-8 become U+FFFD, so
// every function is total; is_valid_utf8() is for readers that must refuse such input.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

/// Code points of `text`; each byte that belongs to no well-formed sequence becomes U+FFFD.
std::u32string decode_utf8(std::string_view text);

/// Appends `c` as UTF-8; surrogates and values above U+10FFFF as U+FFFD.
void append_utf8(std::string& out, char32_t c);

/// True when `text` is well-formed UTF-8 (no overlong forms, surrogates or code points above U+10FFFF).
bool is_valid_utf8(std::string_view text) noexcept;

/// White space as Python's str.split() sees it, which is what sacreBLEU's chrF removes.
bool is_white_space(char32_t c) noexcept;

/// Simple (one to one) lower case of Latin, Greek, Cyrillic and Armenian letters; others are unchanged.
char32_t fold_case(char32_t c) noexcept;

/// `text` with folded case, runs of white space as one space, none at the ends.
std::u32string normalise(std::string_view text);

}  // namespace thimble
