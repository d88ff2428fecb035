// Lookup in the generated runs.
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
