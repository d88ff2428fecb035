// The vocabulary of panel kernels in NEON with dot products: simd_neon_base.h and sdot.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd_neon_base.h"
#include "kernels/simd_neon_step.h"
#include "kernels/unroll.h"

namespace thimble::kernels {
namespace {

// With four columns: 8 dot products, 8 sums or results and the operands.
constexpr int kPanelsPerPass = 2;

/// Expanded steps in the order of dot_block: as they come.
template <int kStep>
inline void place_step(uint8_t* w, Ints&, Ints bytes) noexcept {
  store_ints(w + 4 * kLanes * kStep, bytes);
}

/// dots[i * kCols + c] = dot of kSteps steps of panel i with q[c][at ..]; panels are `stride` bytes apart.
template <class Type, int kSteps, int kPanels, int kCols>
inline void dot_block(const uint8_t* w, size_t stride, const int8_t* const* q, int at, int32x4_t* dots) noexcept {
#pragma GCC unroll 8
  for (int i = 0; i < kPanels * kCols; ++i) dots[i] = vdupq_n_s32(0);
#pragma GCC unroll 2
  for (int half = 0; half < kSteps / 4; ++half) {
    int8x16_t x[kCols];
#pragma GCC unroll 4
    for (int c = 0; c < kCols; ++c) x[c] = vld1q_s8(q[c] + at + 16 * half);
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      unroll<0, 4>([&](auto t) THIMBLE_INLINE {
        const uint8_t* from = w + stride * static_cast<size_t>(i) + 64 * half + 16 * t.value;
        const int8x16_t weights = vreinterpretq_s8_u8(vld1q_u8(from));
#pragma GCC unroll 4
        for (int c = 0; c < kCols; ++c) {
          dots[i * kCols + c] = vdotq_laneq_s32(dots[i * kCols + c], weights, x[c], t.value);
        }
      });
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
