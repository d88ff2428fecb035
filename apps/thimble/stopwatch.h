// Seconds since a moment, for figures that people read.
#pragma once

#include <chrono>

namespace thimble::cli {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace thimble::cli
