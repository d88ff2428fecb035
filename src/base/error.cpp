#include "base/error.h"

#include <system_error>

namespace thimble {

const char* error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid argument";
    case ErrorCode::not_found:
      return "not found";
    case ErrorCode::corrupt:
      return "corrupt";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::resource_exhausted:
      return "resource exhausted";
    case ErrorCode::io:
      return "i/o error";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::internal:
      return "internal error";
  }
  return "unknown";
}

std::string errno_text(int error_number) {
  return std::generic_category().message(error_number);
}

}  // namespace thimble
