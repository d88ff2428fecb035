// The vocabulary of panel kernels in NEON with 8-bit matrix products: simd_neon_base.h, smmla for many columns, sdot
// for one. Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd_neon_base.h"
#include "kernels/simd_neon_step.h"

namespace thimble::kernels {
namespace {

// With four columns: 8 dot products, 8 sums or results and the operands.
constexpr int kPanelsPerPass = 2;

/// Expanded steps in the order of dot_block: pairs of steps as rows 0, 1 and rows 2, 3 of eight bytes.
template <int kStep>
inline void place_step(uint8_t* w, Ints& last, Ints bytes) noexcept {
  if constexpr (kStep % 2 == 0) {
    last = bytes;
  } else {
    store_ints(w + 4 * kLanes * (kStep - 1), vzip1q_u32(last, bytes));
    store_ints(w + 4 * kLanes * kStep, vzip2q_u32(last, bytes));
  }
}

/// dots[i * kCols + c] = dot of kSteps steps of panel i with q[c][at ..]; panels are `stride` bytes apart. One column
/// is multiplied as two.
template <class Type, int kSteps, int kPanels, int kCols>
inline void dot_block(const uint8_t* w, size_t stride, const int8_t* const* q, int at, int32x4_t* dots) noexcept {
  constexpr int kPairs = (kCols + 1) / 2;
  int32x4_t squares[kPanels * kPairs][2];  // rows 0, 1 and rows 2, 3, of two columns each
#pragma GCC unroll 4
  for (int i = 0; i < kPanels * kPairs; ++i) squares[i][0] = squares[i][1] = vdupq_n_s32(0);
#pragma GCC unroll 2
  for (int half = 0; half < kSteps / 4; ++half) {
    int8x16_t x[kPairs][2];
#pragma GCC unroll 2
    for (int p = 0; p < kPairs; ++p) {
      const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(q[2 * p] + at + 16 * half));
      const int64x2_t b = 2 * p + 1 < kCols ? vreinterpretq_s64_s8(vld1q_s8(q[2 * p + 1] + at + 16 * half)) : a;
      x[p][0] = vreinterpretq_s8_s64(vzip1q_s64(a, b));
      x[p][1] = vreinterpretq_s8_s64(vzip2q_s64(a, b));
    }
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) {
        const uint8_t* from = w + stride * static_cast<size_t>(i) + 64 * half + 16 * s;
        const int8x16_t rows = vreinterpretq_s8_u8(vld1q_u8(from));
#pragma GCC unroll 2
        for (int p = 0; p < kPairs; ++p) {
          int32x4_t& square = squares[i * kPairs + p][s % 2];
          square = vmmlaq_s32(square, rows, x[p][s / 2]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kPanels * kCols; ++i) {
    const int32x4_t* square = squares[i / kCols * kPairs + i % kCols / 2];
    dots[i] = i % kCols % 2 == 0 ? vuzp1q_s32(square[0], square[1]) : vuzp2q_s32(square[0], square[1]);
  }
}

}  // namespace
}  // namespace thimble::kernels
