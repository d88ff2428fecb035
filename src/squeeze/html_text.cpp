// Escaping and formats used by every part of the report.
#include "squeeze/html_text.h"

#include <fmt/format.h>

#include "metrics/code_points.h"
#include "text/unicode.h"

namespace thimble {

std::string html_escape(std::string_view text) {
  std::string out;
  for (const char32_t c : code_points(text)) {
    switch (c) {
      case U'&':
        out += "&amp;";
        break;
      case U'<':
        out += "&lt;";
        break;
      case U'>':
        out += "&gt;";
        break;
      case U'"':
        out += "&quot;";
        break;
      case U'\'':
        out += "&#39;";
        break;
      default:
        append_utf8(out, (c < 0x20 && c != U'\t' && c != U'\n') || (c >= 0x7F && c < 0xA0) ? char32_t{0xFFFD} : c);
    }
  }
  return out;
}

std::string format_bytes(uint64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (b >= 1e9) return fmt::format("{:.2f} GB", b / 1e9);
  if (b >= 1e6) return fmt::format("{:.2f} MB", b / 1e6);
  return fmt::format("{:.1f} kB", b / 1e3);
}

}  // namespace thimble
