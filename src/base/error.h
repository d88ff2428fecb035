// The one exception type of Thimble. It is thrown while loading, binding, configuring and parsing, never per token.
// A message names the file, the tensor or key, what was found and what was expected, in that order.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace thimble {

enum class ErrorCode {
  invalid_argument,    // a flag, parameter or configuration value that cannot be used
  not_found,           // a file, tensor or key that should exist does not
  corrupt,             // a file whose bytes contradict its format
  unsupported,         // well formed, but outside what Thimble does
  resource_exhausted,  // memory, disk or context limit
  io,                  // the operating system refused a read or write
  cancelled,           // stopped on request
  internal,            // a defect of Thimble
};

/// Name of a code as printed to users, for example "corrupt".
const char* error_code_name(ErrorCode code) noexcept;

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// Throws Error with a message formatted by fmt.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// The message of `errno` value `error_number`, thread-safe.
std::string errno_text(int error_number);

}  // namespace thimble
