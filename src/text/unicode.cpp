// UTF-8 decoding by the table of well-formed sequences, and lookup in the generated runs.
#include "text/unicode.h"

#include <algorithm>
#include <array>

namespace thimble {

namespace {

std::array<uint8_t, 128> make_ascii_flags() noexcept {
  std::array<uint8_t, 128> flags{};
  size_t run = 0;
  for (uint32_t c = 0; c < flags.size(); ++c) {
    while (run + 1 < kCharRunCount && kCharRuns[run + 1] >> 4 <= c) ++run;
    flags[c] = kCharRuns[run] & 15;
  }
  return flags;
}

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

bool is_python_space(uint32_t code_point) noexcept {
  return is_white_space(code_point) || (code_point >= 0x1C && code_point <= 0x1F);
}

}  // namespace

uint8_t char_flags(uint32_t code_point) noexcept {
  static const std::array<uint8_t, 128> ascii = make_ascii_flags();
  if (code_point < ascii.size()) return ascii[code_point];
  if (code_point > 0x10FFFF) return 0;
  const uint32_t key = code_point << 4 | 15;
  const uint32_t* run = std::upper_bound(kCharRuns, kCharRuns + kCharRunCount, key) - 1;
  return *run & 15;
}

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

bool is_valid_utf8(std::string_view text) noexcept {
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

std::string_view strip_unicode(std::string_view text) noexcept {
  while (!text.empty()) {
    const Utf8Step step = decode_utf8(text);
    if (!step.valid || !is_python_space(step.code_point)) break;
    text.remove_prefix(step.length);
  }
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) --start;
    const Utf8Step step = decode_utf8(text.substr(start));
    if (!step.valid || start + step.length != text.size() || !is_python_space(step.code_point)) break;
    text = text.substr(0, start);
  }
  return text;
}

}  // namespace thimble
