// Decode with packed weights (packed_layout.h, 4 lanes): one column times panels of 4 rows in NEON with dot products.
// What a panel's sub-block needs goes from its load to sdot without being stored; two panels are walked together,
// because they take the same activations.
//
// Every step is chosen by its count of instructions (bench/arm): activations go by lane (one 16-byte load serves 4
// steps), scales of a register of rows come by table look-up, and sums of activations are split into two bytes so that
// sdot multiplies them by four mins or scales at a time. Integer parts are exact and float operations are those of
// scalar_matmul.h in the same order, so results are bit-equal to every other kernel's.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"
#include "kernels/simd_neon_base.h"
#include "kernels/unroll.h"

namespace thimble::kernels {
namespace {

constexpr int kGemvPanels = 2;

using Bytes = uint8x16_t;  // dword r is of row r of the panel

inline Bytes bytes(uint8_t v) noexcept {
  return vdupq_n_u8(v);
}
inline void load_two(const uint8_t* p, Bytes* out) noexcept {
  out[0] = vld1q_u8(p);
  out[1] = vld1q_u8(p + 16);
}
inline void load_four(const uint8_t* p, Bytes* out) noexcept {
  const uint8x16x4_t four = vld1q_u8_x4(p);
  for (int i = 0; i < 4; ++i) out[i] = four.val[i];
}

/// acc + step kStep of 16 elements: four elements of every row.
template <int kStep>
inline int32x4_t dot_step(int32x4_t acc, Bytes w, int8x16_t x) noexcept {
  return vdotq_laneq_s32(acc, vreinterpretq_s8_u8(w), x, kStep);
}
inline int32x4_t no_sum() noexcept {
  return vdupq_n_s32(0);
}

/// Values of kIq4Values, local so that no symbol with external linkage comes from a kernel file.
inline Bytes iq4_table() noexcept {
  const int8x16_t levels = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  return vreinterpretq_u8_s8(levels);
}

/// Halves of four rows as floats; `shift` 16 takes the upper halves of dwords.
template <int kShift>
inline Floats halves(Bytes dwords) noexcept {
  const uint32x4_t v = vreinterpretq_u32_u8(dwords);
  const uint16x4_t half = kShift == 0 ? vmovn_u32(v) : vshrn_n_u32(v, 16);
  return vcvt_f32_f16(vreinterpret_f16_u16(half));
}

inline void store_rows(const MatmulArgs& a, int64_t row, Floats v) noexcept {
  if (a.n_rows - row >= kLanes) {
    vst1q_f32(a.out + row, v);
    return;
  }
  float values[kLanes];
  vst1q_f32(values, v);
  for (int64_t r = 0; r < a.n_rows - row; ++r) a.out[row + r] = values[r];
}

// ---- super-blocks

/// Sums of 32 or 16 activations as 128 * high + low, signed bytes both (|sum| <= 4,064): dword i is of sums 4 i ..
struct SplitSums {
  int8x16_t high, low;
};
template <int kSubs>
inline SplitSums split_sums(const int16_t* sums) noexcept {
  int16x8_t a = vld1q_s16(sums);
  int16x8_t b = vld1q_s16(sums + 8);
  if constexpr (kSubs == 8) a = b = vpaddq_s16(a, b);
  const int8x16_t bits = vuzp1q_s8(vreinterpretq_s8_s16(a), vreinterpretq_s8_s16(b));
  return {vshrn_high_n_s16(vshrn_n_s16(a, 7), b, 7), vandq_s8(bits, vdupq_n_s8(127))};
}

/// Sum over sub-blocks of factor * sum of activations; factors[t] holds four signed bytes of each row.
template <int kSubs>
inline int32x4_t dot_sums(const Bytes* factors, const SplitSums& x) noexcept {
  const auto f = [&](int t) { return vreinterpretq_s8_u8(factors[t]); };
  int32x4_t high = vdotq_laneq_s32(vdupq_n_s32(0), f(0), x.high, 0);
  high = vdotq_laneq_s32(high, f(1), x.high, 1);
  if constexpr (kSubs == 16) {
    high = vdotq_laneq_s32(high, f(2), x.high, 2);
    high = vdotq_laneq_s32(high, f(3), x.high, 3);
  }
  int32x4_t sum = vdotq_laneq_s32(vshlq_n_s32(high, 7), f(0), x.low, 0);
  sum = vdotq_laneq_s32(sum, f(1), x.low, 1);
  if constexpr (kSubs == 16) {
    sum = vdotq_laneq_s32(sum, f(2), x.low, 2);
    sum = vdotq_laneq_s32(sum, f(3), x.low, 3);
  }
  return sum;
}

/// Byte j of every row's dword, an unsigned number, as an integer.
template <int j>
inline int32x4_t unsigned_byte(Bytes v) noexcept {
  constexpr uint8_t kNone = 255;  // out of the table: zero
  const Bytes index = {j,     kNone, kNone, kNone, j + 4,  kNone, kNone, kNone,
                       j + 8, kNone, kNone, kNone, j + 12, kNone, kNone, kNone};
  return vreinterpretq_s32_u8(vqtbl1q_u8(v, index));
}
template <int j>
inline int32x4_t signed_byte(Bytes v) noexcept {
  const int32x4_t dword = vreinterpretq_s32_u8(v);
  if constexpr (j == 3) return vshrq_n_s32(dword, 24);
  return vshrq_n_s32(vshlq_n_s32(dword, 24 - 8 * j), 24);
}

// What a super-block of one panel adds up.
struct SuperSums {
  int32x4_t scaled[3];  // scale * q * x, by place of the field
  int32x4_t mins;       // min * x
  Floats d, dmin;
};

template <class Type>
inline Floats super_product(const SuperSums& s, float dx) noexcept {
  int32x4_t scaled = s.scaled[0];
  // Without a rest: every product has its place as a factor.
  if constexpr (Type::kPlaces == 3) scaled = vsraq_n_s32(vsraq_n_s32(scaled, s.scaled[1], 2), s.scaled[2], 4);
  Floats term = vmulq_f32(s.d, vcvtq_f32_s32(scaled));
  if constexpr (Type::kHasMin) term = vsubq_f32(term, vmulq_f32(s.dmin, vcvtq_f32_s32(s.mins)));
  return vmulq_n_f32(term, dx);
}

template <class Type, int kPanels>
THIMBLE_INLINE inline void gemv_super_block(const uint8_t* const* w, const ActivationGroup& group,
                                            SuperSums* sums) noexcept {
  constexpr int kFields = Type::kSubs / 4;
  const SplitSums x_sums = split_sums<Type::kSubs>(group.sums);
  Bytes scales[kPanels][Type::kScaleDwords];
  unroll<0, kPanels>([&](auto p) THIMBLE_INLINE { Type::header(w[p.value], x_sums, scales[p.value], sums[p.value]); });
  unroll<0, 4>([&](auto c) THIMBLE_INLINE {
    int8x16_t x[4];
    for (int i = 0; i < 4; ++i) x[i] = vld1q_s8(group.q + Type::activation(c.value, i));
    unroll<0, kPanels>([&](auto p) THIMBLE_INLINE {
      int32x4_t dots[kFields];
      for (int32x4_t& dot : dots) dot = no_sum();
      Type::template chunk<c.value>(w[p.value], x, dots);
      unroll<0, kFields>([&](auto j) THIMBLE_INLINE {
        int32x4_t& sum = sums[p.value].scaled[j.value % Type::kPlaces];
        sum = vmlaq_s32(sum, dots[j.value], Type::template scale<c.value, j.value>(scales[p.value]));
      });
    });
  });
}

template <class Type, int kPanels>
inline void gemv_super_panels(const MatmulArgs& a, int64_t row, const uint8_t* weights) noexcept {
  const uint8_t* w[kPanels];
  Floats acc[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    w[p] = weights + static_cast<size_t>(p) * a.weight_stride;
    acc[p] = vdupq_n_f32(0.0f);
  }
  const auto* x = reinterpret_cast<const ActivationGroup*>(a.x);
  const ActivationGroup* end = x + a.k / 256;
  for (; x != end; ++x) {
    SuperSums sums[kPanels];
    gemv_super_block<Type, kPanels>(w, *x, sums);
    unroll<0, kPanels>([&](auto p) THIMBLE_INLINE {
      acc[p.value] = vaddq_f32(acc[p.value], super_product<Type>(sums[p.value], x->d[0]));
      w[p.value] += Type::kBytes;
    });
  }
  for (int p = 0; p < kPanels; ++p) store_rows(a, row + p * kLanes, acc[p]);
}

// ---- blocks of 32

/// One column of activations in one group of eight blocks.
struct BlockColumn {
  const int8_t* q;
  int32_t start[8];  // -offset * sum of x: what the dot product starts from
  float sums[8];     // for types with mins
  const float* d;
};

template <class Type>
inline void set_block_column(const ActivationGroup& x, BlockColumn& column) noexcept {
  column.q = x.q;
  column.d = x.d;
  if constexpr (Type::kHasMin || Type::kOffset != 0) {
    const int16x8_t sums = vpaddq_s16(vld1q_s16(x.sums), vld1q_s16(x.sums + 8));
    if constexpr (Type::kHasMin) {
      vst1q_f32(column.sums, vcvtq_f32_s32(vmovl_s16(vget_low_s16(sums))));
      vst1q_f32(column.sums + 4, vcvtq_f32_s32(vmovl_high_s16(sums)));
    } else {
      vst1q_s32(column.start, vmull_n_s16(vget_low_s16(sums), -Type::kOffset));
      vst1q_s32(column.start + 4, vmull_high_n_s16(sums, -Type::kOffset));
    }
  }
}

template <class Type, int kPanels>
inline void gemv_one_block(const uint8_t** w, const BlockColumn& column, int b, Floats* acc) noexcept {
  const int8x16_t x[2] = {vld1q_s8(column.q + 32 * b), vld1q_s8(column.q + 32 * b + 16)};
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p) {
    const int32x4_t start = vdupq_n_s32(Type::kOffset == 0 ? 0 : column.start[b]);
    Floats d, m;
    const Floats dot = vcvtq_f32_s32(Type::multiply(w[p], x, start, d, m));
    Floats term = vmulq_f32(d, dot);
    if constexpr (Type::kHasMin) term = vaddq_f32(term, vmulq_n_f32(m, column.sums[b]));
    acc[p] = vaddq_f32(acc[p], vmulq_n_f32(term, column.d[b]));
    w[p] += Type::kBytes;
  }
}

template <class Type, int kPanels>
inline void gemv_block_panels(const MatmulArgs& a, int64_t row, const uint8_t* weights) noexcept {
  const uint8_t* w[kPanels];
  Floats acc[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    w[p] = weights + static_cast<size_t>(p) * a.weight_stride;
    acc[p] = vdupq_n_f32(0.0f);
  }
  const auto* x = reinterpret_cast<const ActivationGroup*>(a.x);
  int64_t left = a.k / 32;
  BlockColumn column;
  for (; left >= 8; left -= 8, ++x) {
    set_block_column<Type>(*x, column);
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) gemv_one_block<Type, kPanels>(w, column, b, acc);
  }
  if (left > 0) {
    set_block_column<Type>(*x, column);
#pragma GCC unroll 1
    for (int b = 0; b < left; ++b) gemv_one_block<Type, kPanels>(w, column, b, acc);
  }
  for (int p = 0; p < kPanels; ++p) store_rows(a, row + p * kLanes, acc[p]);
}

// ---- rows

template <class Type, int kPanels>
inline void gemv_panels(const MatmulArgs& a, int64_t row, const uint8_t* weights) noexcept {
  if constexpr (Type::kSubs > 0) {
    gemv_super_panels<Type, kPanels>(a, row, weights);
  } else {
    gemv_block_panels<Type, kPanels>(a, row, weights);
  }
}

/// Packed weights times one column.
template <class Type>
inline void gemv_packed(const MatmulArgs& a) noexcept {
  const auto* weights = reinterpret_cast<const uint8_t*>(a.weights);
  int64_t row = 0;
  for (; a.n_rows - row > (kGemvPanels - 1) * kLanes; row += kGemvPanels * kLanes) {
    gemv_panels<Type, kGemvPanels>(a, row, weights);
    weights += kGemvPanels * a.weight_stride;
  }
  for (; row < a.n_rows; row += kLanes) {
    gemv_panels<Type, 1>(a, row, weights);
    weights += a.weight_stride;
  }
}

}  // namespace
}  // namespace thimble::kernels
