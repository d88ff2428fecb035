// The vocabulary of int8 attention in NEON without dot products: 4 keys or 4 dimensions in a register.
// Only for files compiled for that machine; everything is in an anonymous namespace.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/ask_ahead.h"
#include "kernels/vector_kernel.h"

namespace thimble::kernels {
namespace {

constexpr int kScoreRows = 4;  // 16 sums, 4 keys and a query of the 32 registers
constexpr int kFewRowsTiles = 1;
constexpr int kFloatMixRows = 4;
constexpr int kFloatMixVecs = 4;
constexpr int kDotRows = 2;  // 16 sums of half a key each, 8 keys and 2 queries
constexpr int kDotMixRows = 4;
constexpr int kDotMixVecs = 2;

inline int32_t dot_offset(const int8_t* /*q*/, int64_t /*dim*/) noexcept {
  return 0;
}

inline int8x16_t splat_bytes(const int8_t* p) noexcept {
  return vreinterpretq_s8_s32(vld1q_dup_s32(reinterpret_cast<const int32_t*>(p)));
}

/// sums[4 i + t] = q_i . keys of one tile. Two products of bytes fit 16 bits, as neither factor is -128.
template <int kRows>
inline void dot_keys(const int8_t* k, const int8_t* q, int64_t dim, const int32_t* /*offsets*/,
                     uint32x4_t* sums) noexcept {
  int32x4_t dots[8 * kRows];  // each lane: half of the dimensions of a key
#pragma GCC unroll 16
  for (int i = 0; i < 8 * kRows; ++i) dots[i] = vdupq_n_s32(0);
  for (int64_t d = 0; d < dim; d += 8) {
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
      const int8x16_t keys = vld1q_s8(k + d * kKeyLanes + 16 * t);
      const int8x16_t more = vld1q_s8(k + (d + 4) * kKeyLanes + 16 * t);
#pragma GCC unroll 2
      for (int i = 0; i < kRows; ++i) {
        const int8x16_t x = splat_bytes(q + i * dim + d);
        const int8x16_t y = splat_bytes(q + i * dim + d + 4);
        int32x4_t* sum = dots + 8 * i + 2 * t;
        sum[0] = vpadalq_s16(sum[0],
                             vmlal_s8(vmull_s8(vget_low_s8(keys), vget_low_s8(x)), vget_low_s8(more), vget_low_s8(y)));
        sum[1] = vpadalq_s16(sum[1], vmlal_high_s8(vmull_high_s8(keys, x), more, y));
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4 * kRows; ++i) sums[i] = vreinterpretq_u32_s32(vpaddq_s32(dots[2 * i], dots[2 * i + 1]));
}

/// 4 rounded weights of a row from key j on, as 16-bit words.
inline void store_weights(void* weights, int64_t j, uint32x4_t w) noexcept {
  vst1_u16(static_cast<uint16_t*>(weights) + j, vmovn_u32(w));
}

/// sums[i * kVecs + t] = sum over the keys of weight * value, rows from `first`, dimensions from d on.
template <int kRows, int kVecs>
inline void dot_values(const MixArgs& a, int64_t first, int64_t d, const void* ahead, uint32x4_t* sums) noexcept {
  const auto* v = static_cast<const int8_t*>(a.v) + d * 4;
  const auto* weights = static_cast<const int16_t*>(a.weights) + first * kKeyBlock;
  int32x4_t dots[kRows * kVecs];
#pragma GCC unroll 8
  for (int i = 0; i < kRows * kVecs; ++i) dots[i] = vdupq_n_s32(0);
  for (int64_t j = 0; j < a.n_keys; j += 4) {
    if (ahead != nullptr) ask_ahead(ahead, j * a.dim, 4 * a.dim);
    // Words of one key each: the bytes of four dimensions, transposed.
    int16x4_t values[kVecs][4];
#pragma GCC unroll 2
    for (int t = 0; t < kVecs; ++t) {
      static const uint8_t kOrder[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
      const int8x16_t by_key = vqtbl1q_s8(vld1q_s8(v + j * a.dim + 16 * t), vld1q_u8(kOrder));
      const int16x8_t low = vmovl_s8(vget_low_s8(by_key));
      const int16x8_t high = vmovl_high_s8(by_key);
      values[t][0] = vget_low_s16(low);
      values[t][1] = vget_high_s16(low);
      values[t][2] = vget_low_s16(high);
      values[t][3] = vget_high_s16(high);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const int16x4_t w = vld1_s16(weights + i * kKeyBlock + j);
#pragma GCC unroll 2
      for (int t = 0; t < kVecs; ++t) {
        int32x4_t sum = dots[i * kVecs + t];
        sum = vmlal_lane_s16(sum, values[t][0], w, 0);
        sum = vmlal_lane_s16(sum, values[t][1], w, 1);
        sum = vmlal_lane_s16(sum, values[t][2], w, 2);
        dots[i * kVecs + t] = vmlal_lane_s16(sum, values[t][3], w, 3);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows * kVecs; ++i) sums[i] = vreinterpretq_u32_s32(dots[i]);
}

// vec_exp2: the parts of its argument, and scaling by the whole one.
inline float32x4_t whole_part(float32x4_t x) noexcept {
  return vrndnq_f32(x);
}
inline float32x4_t times_power_of_2(float32x4_t p, float32x4_t n) noexcept {
  return vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23)));
}

}  // namespace
}  // namespace thimble::kernels
