// Checked unsigned arithmetic. All arithmetic on sizes that come from a file goes through these helpers:
// a wrapped multiplication before an allocation is the root cause of most GGUF CVEs.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

namespace thimble {

/// a + b, or nothing when the sum does not fit 64 bits.
[[nodiscard]] inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) noexcept {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// a * b, or nothing when the product does not fit 64 bits.
[[nodiscard]] inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) noexcept {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// `value` rounded up to a multiple of `alignment` (> 0), or nothing when that does not fit 64 bits.
[[nodiscard]] inline std::optional<uint64_t> checked_align(uint64_t value, uint64_t alignment) noexcept {
  const uint64_t rest = value % alignment;
  return rest == 0 ? std::optional(value) : checked_add(value, alignment - rest);
}

}  // namespace thimble
