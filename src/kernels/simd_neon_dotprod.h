// The vocabulary of panel kernels in NEON with dot products: simd_neon_base.h and sdot.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd_neon_base.h"
#include "kernels/simd_neon_step.h"

namespace thimble::kernels {
namespace {

constexpr int kColumns = 4;

/// sums[c] += (scale *) dot of kSteps dwords of the panel with q[c][at ..].
template <class Type, int kSteps, int kCols, bool kScaled>
inline void dot_steps(const uint8_t* w, const int8_t* const* q, int at, Ints scale, Ints* sums) noexcept {
  static_assert(kSteps % 4 == 0);
  int32x4_t dots[kCols];
  for (int c = 0; c < kCols; ++c) dots[c] = kScaled ? vdupq_n_s32(0) : as_signed(sums[c]);
#pragma GCC unroll 2
  for (int s = 0; s < kSteps; s += 4) {
    const int8x16_t w0 = vreinterpretq_s8_u8(vld1q_u8(w + 16 * s));
    const int8x16_t w1 = vreinterpretq_s8_u8(vld1q_u8(w + 16 * s + 16));
    const int8x16_t w2 = vreinterpretq_s8_u8(vld1q_u8(w + 16 * s + 32));
    const int8x16_t w3 = vreinterpretq_s8_u8(vld1q_u8(w + 16 * s + 48));
#pragma GCC unroll 4
    for (int c = 0; c < kCols; ++c) {
      const int8x16_t x = vld1q_s8(q[c] + at + 4 * s);
      dots[c] = vdotq_laneq_s32(dots[c], w0, x, 0);
      dots[c] = vdotq_laneq_s32(dots[c], w1, x, 1);
      dots[c] = vdotq_laneq_s32(dots[c], w2, x, 2);
      dots[c] = vdotq_laneq_s32(dots[c], w3, x, 3);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < kCols; ++c) {
    sums[c] = kScaled ? as_ints(vmlaq_s32(as_signed(sums[c]), dots[c], as_signed(scale))) : as_ints(dots[c]);
  }
}

}  // namespace
}  // namespace thimble::kernels
