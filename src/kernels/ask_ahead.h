// Hints to the caches about memory that is read soon. For files compiled for one instruction set: anonymous namespace.
#pragma once

#include <cstdint>

namespace thimble::kernels {
namespace {

/// Asks the second-level cache for a line. An address, not a pointer: it may lie past the end of anything.
inline void ask_for(uintptr_t address) noexcept {
  __builtin_prefetch(reinterpret_cast<const void*>(address), 0, 2);  // NOLINT(performance-no-int-to-ptr)
}

/// The same of a line that is read once: the processor may leave it out of the caches behind the first.
inline void ask_for_once(uintptr_t address) noexcept {
  __builtin_prefetch(reinterpret_cast<const void*>(address), 0, 0);  // NOLINT(performance-no-int-to-ptr)
}

/// Asks the second-level cache for `bytes` at `start` + `offset`.
inline void ask_ahead(const void* start, int64_t offset, int64_t bytes) noexcept {
  const uintptr_t address = reinterpret_cast<uintptr_t>(start) + static_cast<uintptr_t>(offset);
  for (int64_t i = 0; i < bytes; i += 64) ask_for(address + static_cast<uintptr_t>(i));
}

}  // namespace
}  // namespace thimble::kernels
