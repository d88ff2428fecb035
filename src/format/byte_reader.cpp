// Text checks and the one error of ByteReader.
#include "format/byte_reader.h"

#include "base/error.h"

namespace thimble {

namespace {

// Length in bytes of the well-formed UTF-8 sequence at `text[i]`, or 0.
size_t utf8_sequence(std::string_view text, size_t i) noexcept {
  const auto byte = [&](size_t k) { return k < text.size() ? static_cast<uint8_t>(text[k]) : uint8_t{0}; };
  const uint8_t lead = byte(i);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                        : (lead & 0xF0) == 0xE0        ? 3
                        : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                       : 0;
  if (length == 0) return 0;
  // Only the second byte has a narrower range: it excludes overlong forms, surrogates and values past U+10FFFF.
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(i + 1) < low || byte(i + 1) > high) return 0;
  for (size_t k = 2; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_sequence(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_sequence(text, i);
    if (out.size() + (length == 0 ? 1 : length) > max_bytes) return out + "...";
    const uint8_t lead = static_cast<uint8_t>(text[i]);
    // U+0080 to U+009F (C2 80 to C2 9F) are control characters too: some terminals act on them.
    const bool control =
        lead < 0x20 || lead == 0x7F || (length == 2 && lead == 0xC2 && static_cast<uint8_t>(text[i + 1]) < 0xA0);
    if (length == 0 || control) {
      out += '?';
    } else {
      out.append(text, i, length);
    }
    i += length == 0 ? 1 : length;
  }
  return out;
}

void ByteReader::fail_truncated(uint64_t needed, std::string_view what) const {
  fail(ErrorCode::corrupt, "{}: {}: needs {} bytes at byte {}, found {} before the end of the file", source_,
       printable(what, 200), needed, offset_, remaining());
}

}  // namespace thimble
