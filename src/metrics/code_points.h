// Texts as code points for metrics: white space, case folding. Bytes that are no UTF-8 become U+FFFD, so every function
// is total; readers that must refuse such input ask text/unicode.h.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

/// Code points of `text`; malformed sequences become U+FFFD.
std::u32string code_points(std::string_view text);

/// 0 to 9.
inline bool is_digit(char32_t c) noexcept {
  return c >= U'0' && c <= U'9';
}

/// White space as Python's str.split() sees it, which is what sacreBLEU's chrF removes.
bool is_python_space(char32_t c) noexcept;

/// Simple (one to one) lower case of Latin, Greek, Cyrillic and Armenian letters; others are unchanged.
char32_t fold_case(char32_t c) noexcept;

/// `text` composed, with folded case, runs of white space as one space, none at the ends.
std::u32string normalise(std::string_view text);
std::u32string normalise(std::u32string_view text);

}  // namespace thimble
