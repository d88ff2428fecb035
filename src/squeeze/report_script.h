// The one script of report.html: search in the worst answers.
#pragma once

#include <string_view>

namespace thimble {

/// Text between <script> and </script>. Without it the search field stays hidden and everything else is there.
std::string_view report_script() noexcept;

/// Base64 of the script's SHA-256, for the page's content security policy: no other script can run, whatever the
/// answers of a model say. The browser test computes it again.
std::string_view report_script_sha256() noexcept;

}  // namespace thimble
