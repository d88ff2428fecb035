// UTF-8: the one strict decoder of the project, and text made safe for messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace thimble {

constexpr uint32_t kReplacementChar = 0xFFFD;

/// One step of decoding. Invalid input yields U+FFFD with `length` 1 to 3: the maximal subpart of Unicode 15.1 §3.9.
struct Utf8Step {
  uint32_t code_point;
  uint8_t length;  // bytes consumed, at least 1
  bool valid;
  bool incomplete;  // only with !valid: the text ends inside a sequence that could still become valid
};

/// Decodes the first code point of `text`, which must not be empty.
Utf8Step decode_utf8(std::string_view text) noexcept;

/// True when `text` is well-formed (Unicode 15.1 table 3-7: no overlong forms, surrogates or values past U+10FFFF).
bool is_utf8(std::string_view text) noexcept;

/// Appends a code point up to U+10FFFF.
void append_utf8(std::string& text, uint32_t code_point);

/// `text` made safe for a message or a terminal: at most `max_bytes` of it, control characters and bytes that are not
/// UTF-8 replaced by '?', "..." appended when cut.
std::string printable(std::string_view text, size_t max_bytes = 80);

}  // namespace thimble
