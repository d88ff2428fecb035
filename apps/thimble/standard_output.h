// Printing a result so that a full disk or a closed pipe does not look like success.
#pragma once

#include <cstdio>
#include <system_error>

#include "base/error.h"

namespace thimble::cli {

/// Runs `print`, which writes to standard output through stdio, and flushes. Errors: io.
template <typename Print>
void print_checked(const Print& print) {
  bool written = true;
  try {
    print();
  } catch (const std::system_error&) {  // fmt::print, when the buffer was written early
    written = false;
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !written) {
    fail(ErrorCode::io, "standard output: cannot be written");
  }
}

}  // namespace thimble::cli
