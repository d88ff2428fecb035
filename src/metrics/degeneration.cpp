#include "metrics/degeneration.h"

#include <algorithm>

#include "metrics/code_points.h"
#include "text/unicode.h"

namespace thimble {

namespace {

constexpr size_t kMaxPeriod = 400;
constexpr size_t kMinRepeats = 4;
constexpr size_t kMinLength = 32;

bool has_content(std::u32string_view piece) noexcept {
  return std::any_of(piece.begin(), piece.end(), [](char32_t c) {
    const CharClass k = char_class(c);
    return k == CharClass::letter || k == CharClass::number;
  });
}

}  // namespace

std::string_view degeneration_name(Degeneration d) noexcept {
  switch (d) {
    case Degeneration::none:
      return "none";
    case Degeneration::empty:
      return "empty";
    case Degeneration::loop:
      return "loop";
    case Degeneration::cut:
      return "cut";
  }
  return "none";
}

Loop longest_loop(std::string_view text) {
  const std::u32string t = code_points(text);
  Loop best;
  for (size_t period = 1; period <= std::min(kMaxPeriod, t.size() / kMinRepeats); ++period) {
    size_t equal = 0;  // code points up to i that equal those one period later
    for (size_t i = 0; i + period < t.size(); ++i) {
      equal = t[i] == t[i + period] ? equal + 1 : 0;
      const size_t length = equal + period;
      // Shorter periods come first, so that a run is described by its shortest piece.
      if (length < std::max({kMinLength, kMinRepeats * period, best.length + 1})) continue;
      if (has_content(std::u32string_view(t).substr(i + 1, period))) best = {period, length};
    }
  }
  return best;
}

Degeneration find_degeneration(std::string_view answer, bool truncated, std::span<const std::string> references) {
  if (strip_unicode(answer).empty()) return Degeneration::empty;
  if (longest_loop(answer).period > 0 &&
      std::none_of(references.begin(), references.end(),
                   [](const std::string& reference) { return longest_loop(reference).period > 0; })) {
    return Degeneration::loop;
  }
  return truncated ? Degeneration::cut : Degeneration::none;
}

}  // namespace thimble
