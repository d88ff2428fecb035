// The vocabulary of panel kernels in NEON without extensions: simd_neon_base.h and products of bytes to halfwords.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd_neon_base.h"

namespace thimble::kernels {
namespace {

// 16 sums of halfwords and dwords of four columns, two halves of the weights and a column fit 32 registers; those of a
// second panel would not.
constexpr int kPanelsPerPass = 1;

// Steps whose products fit one 16-bit sum: each adds one product of at most 127 times the largest weight byte to every
// halfword. Weights of 128 fit twice (32,512), quants of four bits 17 times.
template <class Type>
constexpr int steps_per_sum() noexcept {
  const int fit = 32767 / (Type::kMaxByte * 127);
  return fit >= 8 ? 8 : (fit >= 4 ? 4 : (fit >= 2 ? 2 : 1));
}

// Sums of products of one column: halfwords of rows 0, 1 and 2, 3, and the dwords they are added to in pairs.
struct NeonSums {
  int16x8_t words[2];
  int32x4_t pairs[2];
};

template <bool kFirst>
inline void multiply_step(NeonSums& sums, int8x16_t w, int8x8_t x) noexcept {
  sums.words[0] = kFirst ? vmull_s8(vget_low_s8(w), x) : vmlal_s8(sums.words[0], vget_low_s8(w), x);
  sums.words[1] = kFirst ? vmull_high_s8(w, vcombine_s8(x, x)) : vmlal_high_s8(sums.words[1], w, vcombine_s8(x, x));
}

inline void fold_words(NeonSums& sums, bool first) noexcept {
  for (int h = 0; h < 2; ++h) {
    sums.pairs[h] = first ? vpaddlq_s16(sums.words[h]) : vpadalq_s16(sums.pairs[h], sums.words[h]);
  }
}

/// Sums that a sub-block keeps open while its steps come in (take_step): two of halfwords for each run of steps that
/// they hold, and two of dwords.
template <class Type, int kSteps>
inline constexpr int kStepsPerSum = steps_per_sum<Type>() < kSteps ? steps_per_sum<Type>() : kSteps;
template <class Type, int kSteps>
inline constexpr int kOpenSums = 2 * kSteps / kStepsPerSum<Type, kSteps> + 2;

/// Step kStep < kSteps of a sub-block: the last one adds the (scaled) dot product to sums. q: the sub-block's values.
template <class Type, int kSteps, bool kScaled, int kStep>
__attribute__((always_inline)) inline void take_step(Ints bytes, const int8_t* q, const int32_t* scale, Ints* open,
                                                     Ints& sums) noexcept {
  constexpr int kRun = kStepsPerSum<Type, kSteps>;
  int32_t four = 0;
  __builtin_memcpy(&four, q + 4 * kStep, 4);
  Ints* words = open + 2 + 2 * (kStep / kRun);
  NeonSums dot = {{vreinterpretq_s16_u32(words[0]), vreinterpretq_s16_u32(words[1])},
                  {as_signed(open[0]), as_signed(open[1])}};
  multiply_step<kStep % kRun == 0>(dot, vreinterpretq_s8_u32(bytes), vreinterpret_s8_s32(vdup_n_s32(four)));
  if (kStep % kRun == kRun - 1) fold_words(dot, kStep < kRun);
  for (int h = 0; h < 2; ++h) {
    words[h] = vreinterpretq_u32_s16(dot.words[h]);
    open[h] = as_ints(dot.pairs[h]);
  }
  if (kStep + 1 != kSteps) return;
  const int32x4_t rows = vpaddq_s32(dot.pairs[0], dot.pairs[1]);
  sums =
      kScaled ? as_ints(vmlaq_s32(as_signed(sums), rows, as_signed(load_ints(scale)))) : vaddq_u32(sums, as_ints(rows));
}

/// Expanded steps in the order of dot_block: as they come.
template <int kStep>
inline void place_step(uint8_t* w, Ints&, Ints bytes) noexcept {
  store_ints(w + 4 * kLanes * kStep, bytes);
}

/// dots[c] = dot of kSteps steps of the panel with q[c][at ..].
template <class Type, int kSteps, int kPanels, int kCols>
inline void dot_block(const uint8_t* w, size_t, const int8_t* const* q, int at, int32x4_t* dots) noexcept {
  static_assert(kPanels == 1 && kSteps % 4 == 0);
  constexpr int kRun = kStepsPerSum<Type, kSteps>;
  NeonSums sums[kCols];
#pragma GCC unroll 8
  for (int s = 0; s < kSteps; ++s) {
    const int8x16_t weights = vreinterpretq_s8_u8(vld1q_u8(w + 16 * s));
#pragma GCC unroll 4
    for (int c = 0; c < kCols; ++c) {
      int32_t bytes = 0;
      __builtin_memcpy(&bytes, q[c] + at + 4 * s, 4);
      const int8x8_t x = vreinterpret_s8_s32(vdup_n_s32(bytes));
      if (s % kRun == 0) {
        multiply_step<true>(sums[c], weights, x);
      } else {
        multiply_step<false>(sums[c], weights, x);
      }
      if (s % kRun == kRun - 1) fold_words(sums[c], s < kRun);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < kCols; ++c) dots[c] = vpaddq_s32(sums[c].pairs[0], sums[c].pairs[1]);
}

}  // namespace
}  // namespace thimble::kernels
