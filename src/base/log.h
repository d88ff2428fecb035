// What the library has to say beside its results. It never prints: a sink given by the caller gets each message.
#pragma once

#include <functional>
#include <string_view>

namespace thimble {

enum class LogLevel {
  debug,    // every single decision, such as the type of each tensor
  info,     // steps and what was reused from an earlier run
  warning,  // something was done otherwise than asked, such as a fallback to another type
};

/// Called from one thread at a time, with one line of text without its end.
using LogFn = std::function<void(LogLevel level, std::string_view message)>;

}  // namespace thimble
