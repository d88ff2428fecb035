// Style sheet of report.html.
#pragma once

#include <string_view>

namespace thimble {

/// CSS text: light and dark by the reader's preference, one column on a phone.
std::string_view report_style() noexcept;

}  // namespace thimble
