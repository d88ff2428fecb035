// CSV as RFC 4180 writes it: rows of fields, quotes around fields that hold delimiters, quotes (doubled) or line ends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

struct CsvRow {
  int64_t line = 0;  // on which the row begins, from 1
  std::vector<std::string> fields;
};

/// Rows end with CR LF or LF; a byte order mark in front and lines with nothing on them are passed over. Every row has
/// as many fields as the first. Errors: corrupt (no UTF-8, a quote that is not closed or stands inside a field, too few
/// or too many fields), naming `source` and the line; resource_exhausted (a field longer than kMaxCsvFieldBytes).
std::vector<CsvRow> parse_csv(std::string_view text, char delimiter, const std::string& source);

constexpr size_t kMaxCsvFieldBytes = 1 << 20;

}  // namespace thimble
