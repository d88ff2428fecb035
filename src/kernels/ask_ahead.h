// Hints to the caches about memory that is read soon. For files compiled for one instruction set: anonymous namespace.
#pragma once

#include <cstdint>

namespace thimble::kernels {
namespace {

/// Asks the second-level cache for `bytes` at `start` + `offset`. They may lie past the end of anything.
inline void ask_ahead(const void* start, int64_t offset, int64_t bytes) noexcept {
  const uintptr_t address = reinterpret_cast<uintptr_t>(start) + static_cast<uintptr_t>(offset);
  for (int64_t i = 0; i < bytes; i += 64) {
    const uintptr_t line = address + static_cast<uintptr_t>(i);
    __builtin_prefetch(reinterpret_cast<const void*>(line), 0, 2);  // NOLINT(performance-no-int-to-ptr)
  }
}

}  // namespace
}  // namespace thimble::kernels
