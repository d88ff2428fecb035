// Advice to the system to back memory with huge pages. Weights and caches are walked from end to end: with pages of
// 4 KiB, address translation was a fifth of that in a virtual machine. Linux on x86-64 and most of AArch64 has 2 MiB.
#pragma once

#include <cstddef>

namespace thimble {

inline constexpr size_t kHugePageBytes = size_t{2} << 20;

/// Asks for huge pages under the whole ones of `bytes` at `start`, which is mapped memory or a mapped file; before the
/// first touch, pages are then taken as huge ones. Only a hint: nothing is lost where it is refused or unknown.
void ask_for_huge_pages(const void* start, size_t bytes) noexcept;

}  // namespace thimble
