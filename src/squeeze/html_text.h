// Escaping for HTML and SVG, and the number formats of reports.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace thimble {

/// `text` safe inside elements and quoted attributes: & < > " ' are escaped, bytes that are no UTF-8 and control
/// characters other than tab and line feed become U+FFFD (they are errors in HTML, whether escaped or not).
std::string html_escape(std::string_view text);

/// "4.33 MB", "7.20 GB" (decimal units, as phones and shops count).
std::string format_bytes(uint64_t bytes);

}  // namespace thimble
