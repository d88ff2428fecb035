// The vocabulary of int8 attention in NEON with dot products: 4 keys or 4 dimensions in a register.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
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
constexpr int kDotRows = 4;
constexpr int kDotMixRows = 4;  // 16 sums (two halves of each weight), 2 values and 8 weights
constexpr int kDotMixVecs = 2;

inline int32_t dot_offset(const int8_t* /*q*/, int64_t /*dim*/) noexcept {
  return 0;
}

/// sums[4 i + t] = q_i . keys of one tile.
template <int kRows>
inline void dot_keys(const int8_t* k, const int8_t* q, int64_t dim, const int32_t* /*offsets*/,
                     uint32x4_t* sums) noexcept {
  int32x4_t dots[4 * kRows];
#pragma GCC unroll 16
  for (int i = 0; i < 4 * kRows; ++i) dots[i] = vdupq_n_s32(0);
  for (int64_t d = 0; d < dim; d += 16) {
    int8x16_t queries[kRows];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) queries[i] = vld1q_s8(q + i * dim + d);
    // The lane of a dot product is part of the instruction: four steps by hand.
    const auto step = [&](int s, const auto& dot) {
      const int8_t* at = k + (d + 4 * s) * kKeyLanes;
      const int8x16_t keys[4] = {vld1q_s8(at), vld1q_s8(at + 16), vld1q_s8(at + 32), vld1q_s8(at + 48)};
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (int t = 0; t < 4; ++t) dots[4 * i + t] = dot(dots[4 * i + t], keys[t], queries[i]);
      }
    };
    step(0, [](int32x4_t sum, int8x16_t x, int8x16_t y) { return vdotq_laneq_s32(sum, x, y, 0); });
    step(1, [](int32x4_t sum, int8x16_t x, int8x16_t y) { return vdotq_laneq_s32(sum, x, y, 1); });
    step(2, [](int32x4_t sum, int8x16_t x, int8x16_t y) { return vdotq_laneq_s32(sum, x, y, 2); });
    step(3, [](int32x4_t sum, int8x16_t x, int8x16_t y) { return vdotq_laneq_s32(sum, x, y, 3); });
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4 * kRows; ++i) sums[i] = vreinterpretq_u32_s32(dots[i]);
}

/// 4 rounded weights of a row from key j on: high halves (7 bits), and kKeyBlock bytes further on the low ones.
inline void store_weights(void* weights, int64_t j, uint32x4_t w) noexcept {
  auto* bytes = static_cast<uint8_t*>(weights) + j;
  const uint16x8_t words = vcombine_u16(vmovn_u32(vshrq_n_u32(w, 7)), vmovn_u32(vandq_u32(w, vdupq_n_u32(127))));
  const uint32x2_t halves = vreinterpret_u32_u8(vmovn_u16(words));
  vst1_lane_u32(reinterpret_cast<uint32_t*>(bytes), halves, 0);
  vst1_lane_u32(reinterpret_cast<uint32_t*>(bytes + kKeyBlock), halves, 1);
}

/// sums[i * kVecs + t] = sum over the keys of weight * value, rows from `first`, dimensions from d on.
template <int kRows, int kVecs>
inline void dot_values(const MixArgs& a, int64_t first, int64_t d, const void* ahead, uint32x4_t* sums) noexcept {
  const auto* v = static_cast<const int8_t*>(a.v) + d * 4;
  const auto* weights = static_cast<const int8_t*>(a.weights) + first * 2 * kKeyBlock;
  int32x4_t high[kRows * kVecs], low[kRows * kVecs];
#pragma GCC unroll 8
  for (int i = 0; i < kRows * kVecs; ++i) high[i] = low[i] = vdupq_n_s32(0);
  for (int64_t j = 0; j < a.n_keys; j += 4) {
    if (ahead != nullptr) ask_ahead(ahead, j * a.dim, 4 * a.dim);
    int8x16_t values[kVecs];
#pragma GCC unroll 2
    for (int t = 0; t < kVecs; ++t) values[t] = vld1q_s8(v + j * a.dim + 16 * t);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const int8_t* at = weights + i * 2 * kKeyBlock + j;
      const int8x16_t high_weight = vreinterpretq_s8_s32(vld1q_dup_s32(reinterpret_cast<const int32_t*>(at)));
      const int8x16_t low_weight =
          vreinterpretq_s8_s32(vld1q_dup_s32(reinterpret_cast<const int32_t*>(at + kKeyBlock)));
#pragma GCC unroll 2
      for (int t = 0; t < kVecs; ++t) {
        high[i * kVecs + t] = vdotq_s32(high[i * kVecs + t], values[t], high_weight);
        low[i * kVecs + t] = vdotq_s32(low[i * kVecs + t], values[t], low_weight);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows * kVecs; ++i) sums[i] = vreinterpretq_u32_s32(vaddq_s32(vshlq_n_s32(high[i], 7), low[i]));
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
