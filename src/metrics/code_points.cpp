// Case pairs are the regular ranges of UnicodeData.txt. A full folding table was rejected: metrics compare model
// answers, where the irregular letters do not occur in practice.
#include "metrics/code_points.h"

#include "text/composition.h"
#include "text/unicode.h"

namespace thimble {

namespace {

bool in(char32_t c, char32_t first, char32_t last) noexcept {
  return c >= first && c <= last;
}

}  // namespace

std::u32string code_points(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = decode_utf8(text);
    out.push_back(step.code_point);
    text.remove_prefix(step.length);
  }
  return out;
}

bool is_python_space(char32_t c) noexcept {
  return in(c, 0x09, 0x0D) || in(c, 0x1C, 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 || in(c, 0x2000, 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

char32_t fold_case(char32_t c) noexcept {
  if (in(c, 'A', 'Z')) return c + 32;
  if (c < 0xC0) return c;
  if (in(c, 0xC0, 0xDE)) return c == 0xD7 ? c : c + 32;
  // Latin Extended-A alternates upper and lower case; 0x130/0x131 (dotted and dotless i) and 0x138, 0x149 have no pair.
  if (in(c, 0x100, 0x12F) || in(c, 0x132, 0x137) || in(c, 0x14A, 0x177)) return c | 1;
  if (in(c, 0x139, 0x148) || in(c, 0x179, 0x17E)) return c + (c & 1);
  if (c == 0x178) return 0xFF;
  if (in(c, 0x391, 0x3AB) && c != 0x3A2) return c + 32;
  if (c == 0x386) return 0x3AC;
  if (in(c, 0x388, 0x38A)) return c + 37;
  if (c == 0x38C) return 0x3CC;
  if (c == 0x38E || c == 0x38F) return c + 63;
  if (in(c, 0x400, 0x40F)) return c + 80;
  if (in(c, 0x410, 0x42F)) return c + 32;
  if (in(c, 0x460, 0x481) || in(c, 0x48A, 0x4BF) || in(c, 0x4D0, 0x52F)) return c | 1;
  if (in(c, 0x531, 0x556)) return c + 48;
  if (in(c, 0x1E00, 0x1E95) || in(c, 0x1EA0, 0x1EFF)) return c | 1;
  if (in(c, 0xFF21, 0xFF3A)) return c + 32;
  return c;
}

std::u32string normalise(std::u32string_view text) {
  std::u32string out;
  bool pending_space = false;
  for (const char32_t c : composed(text)) {
    if (is_python_space(c)) {
      pending_space = !out.empty();
      continue;
    }
    if (pending_space) out.push_back(U' ');
    pending_space = false;
    out.push_back(fold_case(c));
  }
  return out;
}

std::u32string normalise(std::string_view text) {
  return normalise(std::u32string_view(code_points(text)));
}

}  // namespace thimble
