// Differences of two answers, word by word, for reading side by side.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

struct MarkedTexts {
  std::string a, b;  // HTML: escaped, with <mark> around what the other text does not have
};

/// Words (runs of letters and digits), single code points of scripts without spaces, and single other characters are
/// compared by their longest common subsequence. Texts longer than `max_points` code points are cut and end in " …".
MarkedTexts mark_differences(std::string_view a, std::string_view b, size_t max_points);

/// One text, escaped and cut likewise.
std::string cut_text(std::string_view text, size_t max_points);

}  // namespace thimble
