// The vocabulary of panel kernels in NEON with 8-bit matrix products: simd_neon_base.h, smmla for two and more columns,
// sdot for one. Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd_neon_base.h"
#include "kernels/simd_neon_step.h"

namespace thimble::kernels {
namespace {

constexpr int kColumns = 8;  // 8 sums of two rows and two columns each, 8 totals, and the operands fit 32 registers

// One column, or the odd one: sdot, which the instruction set includes.
inline int32x4_t dot_column(const uint8_t* w, const int8_t* q, int n_steps, int32x4_t dot) noexcept {
#pragma GCC unroll 2
  for (int s = 0; s < n_steps; s += 4) {
    const int8x16_t x = vld1q_s8(q + 4 * s);
    dot = vdotq_laneq_s32(dot, vreinterpretq_s8_u8(vld1q_u8(w + 16 * s)), x, 0);
    dot = vdotq_laneq_s32(dot, vreinterpretq_s8_u8(vld1q_u8(w + 16 * s + 16)), x, 1);
    dot = vdotq_laneq_s32(dot, vreinterpretq_s8_u8(vld1q_u8(w + 16 * s + 32)), x, 2);
    dot = vdotq_laneq_s32(dot, vreinterpretq_s8_u8(vld1q_u8(w + 16 * s + 48)), x, 3);
  }
  return dot;
}

// Rows 0, 1 (half 0) or 2, 3 (half 1) of two steps: what smmla takes as two rows of eight bytes.
inline int8x16_t two_rows(Ints first, Ints second, int half) noexcept {
  return vreinterpretq_s8_u32(half == 0 ? vzip1q_u32(first, second) : vzip2q_u32(first, second));
}

// kPairs pairs of columns: dots[2 p + h] = {row 2h, row 2h + 1} x {column 2p, column 2p + 1}, row after row.
template <int kSteps, int kPairs>
inline void multiply_pairs(const uint8_t* w, const int8_t* const* q, int at, int32x4_t* dots) noexcept {
#pragma GCC unroll 2
  for (int s = 0; s < kSteps; s += 4) {
    const Ints w0 = load_ints(w + 16 * s), w1 = load_ints(w + 16 * s + 16);
    const Ints w2 = load_ints(w + 16 * s + 32), w3 = load_ints(w + 16 * s + 48);
    const int8x16_t rows[4] = {two_rows(w0, w1, 0), two_rows(w0, w1, 1), two_rows(w2, w3, 0), two_rows(w2, w3, 1)};
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; ++p) {
      const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(q[2 * p] + at + 4 * s));
      const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(q[2 * p + 1] + at + 4 * s));
      const int8x16_t low = vreinterpretq_s8_s64(vzip1q_s64(a, b));
      const int8x16_t high = vreinterpretq_s8_s64(vzip2q_s64(a, b));
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        dots[2 * p + h] = vmmlaq_s32(dots[2 * p + h], rows[h], low);
        dots[2 * p + h] = vmmlaq_s32(dots[2 * p + h], rows[2 + h], high);
      }
    }
  }
}

/// sums[c] += (scale *) dot of kSteps dwords of the panel with q[c][at ..].
template <class Type, int kSteps, int kCols, bool kScaled>
inline void dot_steps(const uint8_t* w, const int8_t* const* q, int at, Ints scale, Ints* sums) noexcept {
  static_assert(kSteps % 4 == 0);
  constexpr int kPairs = kCols / 2;
  const auto add = [&](int c, int32x4_t dot) {
    sums[c] =
        kScaled ? as_ints(vmlaq_s32(as_signed(sums[c]), dot, as_signed(scale))) : vaddq_u32(sums[c], as_ints(dot));
  };
  if constexpr (kPairs > 0) {
    int32x4_t dots[2 * kPairs];
#pragma GCC unroll 8
    for (int i = 0; i < 2 * kPairs; ++i) dots[i] = vdupq_n_s32(0);
    multiply_pairs<kSteps, kPairs>(w, q, at, dots);
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; ++p) {
      add(2 * p, vuzp1q_s32(dots[2 * p], dots[2 * p + 1]));
      add(2 * p + 1, vuzp2q_s32(dots[2 * p], dots[2 * p + 1]));
    }
  }
  if constexpr (kCols % 2 == 1) add(kCols - 1, dot_column(w, q[kCols - 1] + at, kSteps, vdupq_n_s32(0)));
}

}  // namespace
}  // namespace thimble::kernels
