// Decode with packed group weights in NEON with dot products: the way of simd_neon_gemv.h, with one scale and offset
// per group. Float operations are those of matmul_group_scalar in the same order.
#pragma once

#include "kernels/simd_neon_gemv_block.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

template <class Block>
struct GemvGroup {
  static constexpr size_t kBytes = kLanes * sizeof(Block);
  static constexpr int kElems = Block::kElems;
  static constexpr int kHighDwords = (sizeof(Block) - 4 - kElems / 2) / 4;
  static constexpr size_t kQuants = kLanes * (4 + 4 * kHighDwords);

  /// Dot product of block kSub of a group of each row with x [32].
  template <int kSub>
  THIMBLE_INLINE static inline int32x4_t multiply(const uint8_t* w, const Bytes* high, const int8x16_t* x) noexcept {
    return dot_nibbles(no_sum(), w + kQuants + kLanes * 16 * kSub, x, [&](auto t, Bytes v) THIMBLE_INLINE {
      if constexpr (kHighDwords == 0) {
        return v;
      } else {
        constexpr int kBit = (8 * kSub + t.value) / kHighDwords;
        const Bytes bits = high[t.value % kHighDwords];
        Bytes moved = bits;
        if constexpr (kBit < 4) moved = vshlq_n_u8(bits, 4 - kBit);
        if constexpr (kBit > 4) moved = vshrq_n_u8(bits, kBit - 4);
        return vorrq_u8(v, vandq_u8(moved, bytes(16)));
      }
    });
  }
};

using GemvI4_G64 = GemvGroup<BlockI4_G64>;
using GemvI4_G128 = GemvGroup<BlockI4_G128>;
using GemvI5_G64 = GemvGroup<BlockI5_G64>;
using GemvI5_G128 = GemvGroup<BlockI5_G128>;

// Scaled sums of x of the blocks of 32 of 256 elements.
inline void set_scaled_sums(const ActivationGroup& x, float* sums) noexcept {
  const int16x8_t of_32 = vpaddq_s16(vld1q_s16(x.sums), vld1q_s16(x.sums + 8));
  vst1q_f32(sums, vmulq_f32(vld1q_f32(x.d), vcvtq_f32_s32(vmovl_s16(vget_low_s16(of_32)))));
  vst1q_f32(sums + 4, vmulq_f32(vld1q_f32(x.d + 4), vcvtq_f32_s32(vmovl_high_s16(of_32))));
}

// Group `first_block / blocks of a group` of the 256 elements of x.
template <class Type, int kPanels>
THIMBLE_INLINE inline void gemv_one_group(const uint8_t** w, const ActivationGroup& group, int first_block,
                                          const float* sums, Floats* acc) noexcept {
  constexpr int kSubs = Type::kElems / 32;
  Bytes high[kPanels][Type::kHighDwords > 0 ? Type::kHighDwords : 1];
  Floats dots[kPanels];
  unroll<0, kPanels>([&](auto p) THIMBLE_INLINE {
    for (int i = 0; i < Type::kHighDwords; ++i) high[p.value][i] = vld1q_u8(w[p.value] + 16 * (1 + i));
  });
  unroll<0, kSubs>([&](auto s) THIMBLE_INLINE {
    const int b = first_block + s.value;
    const int8x16_t x[2] = {vld1q_s8(group.q + 32 * b), vld1q_s8(group.q + 32 * b + 16)};
    unroll<0, kPanels>([&](auto p) THIMBLE_INLINE {
      const int32x4_t dot = Type::template multiply<s.value>(w[p.value], high[p.value], x);
      const Floats scaled = vmulq_n_f32(vcvtq_f32_s32(dot), group.d[b]);
      dots[p.value] = s.value == 0 ? scaled : vaddq_f32(dots[p.value], scaled);
    });
  });
  const float* of = sums + first_block;
  const float sum = kSubs == 2 ? of[0] + of[1] : (of[0] + of[1]) + (of[2] + of[3]);
  unroll<0, kPanels>([&](auto p) THIMBLE_INLINE {
    const Bytes both = vld1q_u8(w[p.value]);
    const Floats term = vaddq_f32(vmulq_f32(halves<0>(both), dots[p.value]), vmulq_n_f32(halves<16>(both), sum));
    acc[p.value] = vaddq_f32(acc[p.value], term);
    w[p.value] += Type::kBytes;
  });
}

template <class Type, int kPanels>
inline void gemv_group_panels(const MatmulArgs& a, int64_t row, const uint8_t* weights) noexcept {
  constexpr int kSubs = Type::kElems / 32;
  const uint8_t* w[kPanels];
  Floats acc[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    w[p] = weights + static_cast<size_t>(p) * a.weight_stride;
    acc[p] = vdupq_n_f32(0.0f);
  }
  const auto* x = reinterpret_cast<const ActivationGroup*>(a.x);
  for (int64_t left = a.k / 32; left > 0; left -= 8, ++x) {
    alignas(16) float sums[8];
    set_scaled_sums(*x, sums);
    const int here = left < 8 ? static_cast<int>(left) : 8;
#pragma GCC unroll 1
    for (int b = 0; b < here; b += kSubs) gemv_one_group<Type, kPanels>(w, *x, b, sums, acc);
  }
  for (int p = 0; p < kPanels; ++p) store_rows(a, row + p * kLanes, acc[p]);
}

/// Packed weights times one column.
template <class Type>
inline void gemv_group_packed(const MatmulArgs& a) noexcept {
  const auto* weights = reinterpret_cast<const uint8_t*>(a.weights);
  int64_t row = 0;
  for (; a.n_rows - row > (kGemvPanels - 1) * kLanes; row += kGemvPanels * kLanes) {
    gemv_group_panels<Type, kGemvPanels>(a, row, weights);
    weights += kGemvPanels * a.weight_stride;
  }
  for (; row < a.n_rows; row += kLanes) {
    gemv_group_panels<Type, 1>(a, row, weights);
    weights += a.weight_stride;
  }
}

}  // namespace
}  // namespace thimble::kernels
