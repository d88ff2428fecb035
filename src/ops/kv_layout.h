// Where the key/value cache keeps an element. The layout is the same for every instruction set (kernels/vector_kernel.h
// says why it looks like this), so that nothing but speed depends on the machine. Each key/value head is contiguous:
// decoding reads a head's keys as one stream.
#pragma once

#include <cstdint>

namespace thimble::ops {

/// Positions per tile of keys; a cache holds whole tiles, and head dimensions are padded to as many.
inline constexpr int64_t kKvPadding = 16;

/// Largest head dimension that attention takes (the loader refuses more).
inline constexpr int64_t kKvMaxHeadDim = 4096;

constexpr int64_t kv_padded(int64_t n) noexcept {
  return (n + kKvPadding - 1) / kKvPadding * kKvPadding;
}

/// Index of dimension d of the key at `pos` within its head; `dim` is padded.
constexpr int64_t f16_key_index(int64_t pos, int64_t d, int64_t dim) noexcept {
  return pos / kKvPadding * dim * kKvPadding + d * kKvPadding + pos % kKvPadding;
}
constexpr int64_t int8_key_index(int64_t pos, int64_t d, int64_t dim) noexcept {
  return pos / kKvPadding * dim * kKvPadding + (d / 4 * kKvPadding + pos % kKvPadding) * 4 + d % 4;
}

/// The same of a value.
constexpr int64_t f16_value_index(int64_t pos, int64_t d, int64_t dim) noexcept {
  return pos * dim + d;
}
constexpr int64_t int8_value_index(int64_t pos, int64_t d, int64_t dim) noexcept {
  return (pos / 4 * dim + d) * 4 + pos % 4;
}

}  // namespace thimble::ops
