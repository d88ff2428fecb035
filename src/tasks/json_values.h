// Values of task files with errors that name file, line, key, what was found and what was expected.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace thimble {

/// Errors: corrupt, always: "SOURCE: key 'KEY': found FOUND, expected EXPECTED".
[[noreturn]] void fail_value(const std::string& source, std::string_view key, const Json& found,
                             std::string_view expected);

/// A string that is not empty. Errors: corrupt; resource_exhausted when longer than kMaxReferenceBytes.
std::string read_string(const std::string& source, std::string_view key, const Json& value);

/// A list of such strings; the list may be empty. Errors: as read_string.
std::vector<std::string> read_strings(const std::string& source, std::string_view key, const Json& value);

}  // namespace thimble
