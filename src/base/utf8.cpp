#include "base/utf8.h"

namespace thimble {

namespace {

// Allowed range of the second byte (Unicode 15.1, table 3-7) and sequence length; length 0: no lead byte.
struct Lead {
  uint8_t length;
  uint8_t min_second;
  uint8_t max_second;
};

Lead lead_of(uint8_t byte) noexcept {
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step decode_utf8(std::string_view text) noexcept {
  const auto byte_at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte_at(0);
  if (first < 0x80) return {first, 1, true, false};
  const Lead lead = lead_of(first);
  if (lead.length == 0) return {kReplacementChar, 1, false, false};
  uint32_t code_point = first & (0x7Fu >> lead.length);
  for (uint8_t i = 1; i < lead.length; ++i) {
    if (i >= text.size()) return {kReplacementChar, i, false, true};
    const uint8_t byte = byte_at(i);
    const uint8_t min = i == 1 ? lead.min_second : 0x80;
    const uint8_t max = i == 1 ? lead.max_second : 0xBF;
    if (byte < min || byte > max) return {kReplacementChar, i, false, false};
    code_point = code_point << 6 | (byte & 0x3Fu);
  }
  return {code_point, lead.length, true, false};
}

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const Utf8Step step = decode_utf8(text);
    if (!step.valid) return false;
    text.remove_prefix(step.length);
  }
  return true;
}

void append_utf8(std::string& text, uint32_t code_point) {
  const auto put = [&](uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    const Utf8Step step = decode_utf8(text);
    // U+0080 to U+009F are control characters too: some terminals act on them.
    const bool safe = step.valid && step.code_point >= 0x20 && (step.code_point < 0x7F || step.code_point > 0x9F);
    // A broken sequence is shown byte by byte, so that the reader sees how much of it there was.
    const size_t taken = step.valid ? step.length : 1;
    if (out.size() + (step.valid ? taken : 1) > max_bytes) return out + "...";
    if (safe) {
      out += text.substr(0, taken);
    } else {
      out += '?';
    }
    text.remove_prefix(taken);
  }
  return out;
}

}  // namespace thimble
