// The vocabulary of float kernels in NEON (64-bit Arm, no extensions): 4 neighbouring floats in a register.
// Only for files compiled for that machine; everything is in an anonymous namespace.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace thimble::kernels {
namespace {

constexpr int kWidth = 4;

using Vec = float32x4_t;
using IntVec = uint32x4_t;

// The first n of four values, the others zero.
template <typename T>
struct FourValues {
  T values[4] = {};
  FourValues(const T* p, int64_t n) noexcept { __builtin_memcpy(values, p, static_cast<size_t>(n) * sizeof(T)); }
};

inline Vec vec_splat(float v) noexcept {
  return vdupq_n_f32(v);
}
inline Vec vec_load(const float* p) noexcept {
  return vld1q_f32(p);
}
inline void vec_store(float* p, Vec v) noexcept {
  vst1q_f32(p, v);
}
/// The first n < kWidth lanes, the others zero; nothing is read or written past them.
inline Vec vec_load_part(const float* p, int64_t n) noexcept {
  return vld1q_f32(FourValues<float>(p, n).values);
}
inline void vec_store_part(float* p, Vec v, int64_t n) noexcept {
  float values[4];
  vst1q_f32(values, v);
  __builtin_memcpy(p, values, static_cast<size_t>(n) * sizeof(float));
}
inline Vec vec_keep(Vec v, int64_t n) noexcept {
  float values[4];
  vst1q_f32(values, v);
  return vec_load_part(values, n);
}

inline Vec vec_load_f16(const uint16_t* p) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
inline Vec vec_load_f16_part(const uint16_t* p, int64_t n) noexcept {
  return vec_load_f16(FourValues<uint16_t>(p, n).values);
}
inline Vec vec_load_bf16(const uint16_t* p) noexcept {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
inline Vec vec_load_bf16_part(const uint16_t* p, int64_t n) noexcept {
  return vec_load_bf16(FourValues<uint16_t>(p, n).values);
}
inline Vec vec_load_i8(const int8_t* p) noexcept {
  uint32_t bytes = 0;
  __builtin_memcpy(&bytes, p, 4);
  const int16x8_t words = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes)));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
}
inline Vec vec_load_i8_part(const int8_t* p, int64_t n) noexcept {
  return vec_load_i8(FourValues<int8_t>(p, n).values);
}
inline void vec_store_f16(uint16_t* p, Vec v) noexcept {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v)));
}

inline Vec vec_add(Vec a, Vec b) noexcept {
  return vaddq_f32(a, b);
}
inline Vec vec_sub(Vec a, Vec b) noexcept {
  return vsubq_f32(a, b);
}
inline Vec vec_mul(Vec a, Vec b) noexcept {
  return vmulq_f32(a, b);
}
inline Vec vec_div(Vec a, Vec b) noexcept {
  return vdivq_f32(a, b);
}
inline Vec vec_max(Vec a, Vec b) noexcept {
  return vmaxq_f32(a, b);
}
/// a * b + c with one rounding.
inline Vec vec_fma(Vec a, Vec b, Vec c) noexcept {
  return vfmaq_f32(c, a, b);
}
/// a * x[kLane] + c with one rounding.
template <int kLane>
inline Vec vec_fma_lane(Vec a, Vec x, Vec c) noexcept {
  return vfmaq_laneq_f32(c, a, x, kLane);
}
/// Lane j of register i becomes lane i of register j.
inline void vec_transpose(Vec (&v)[4]) noexcept {
  const Vec a = vzip1q_f32(v[0], v[2]), b = vzip2q_f32(v[0], v[2]);
  const Vec c = vzip1q_f32(v[1], v[3]), d = vzip2q_f32(v[1], v[3]);
  v[0] = vzip1q_f32(a, c);
  v[1] = vzip2q_f32(a, c);
  v[2] = vzip1q_f32(b, d);
  v[3] = vzip2q_f32(b, d);
}
inline float vec_sum(Vec v) noexcept {
  // Halves, then neighbours: the order of the other instruction sets (vaddvq_f32 adds neighbours first).
  const float32x2_t two = vadd_f32(vget_low_f32(v), vget_high_f32(v));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
inline float vec_largest(Vec v) noexcept {
  return vmaxvq_f32(v);
}
/// Lanes of `yes` where x > limit, else of `no`.
inline Vec vec_where_above(Vec x, Vec limit, Vec yes, Vec no) noexcept {
  return vbslq_f32(vcgtq_f32(x, limit), yes, no);
}

/// Bits of |v|, and the largest of unsigned lanes.
inline IntVec vec_magnitude_bits(Vec v) noexcept {
  return vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0x7FFFFFFFu));
}
inline IntVec int_max(IntVec a, IntVec b) noexcept {
  return vmaxq_u32(a, b);
}
inline uint32_t int_largest(IntVec v) noexcept {
  return vmaxvq_u32(v);
}
inline IntVec int_zero() noexcept {
  return vdupq_n_u32(0);
}
/// Nearest integers, ties to even.
inline IntVec vec_round(Vec v) noexcept {
  return vreinterpretq_u32_s32(vcvtnq_s32_f32(v));
}
inline Vec int_to_vec(IntVec v) noexcept {
  return vcvtq_f32_s32(vreinterpretq_s32_u32(v));
}
/// 2^v for -126 <= v <= 127.
inline Vec int_exp2(IntVec v) noexcept {
  return vreinterpretq_f32_u32(vshlq_n_u32(vaddq_u32(v, vdupq_n_u32(127)), 23));
}
/// Stores lanes of -128..127 as kWidth bytes.
inline void int_store_i8(int8_t* p, IntVec v) noexcept {
  const int16x4_t words = vmovn_s32(vreinterpretq_s32_u32(v));
  const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
  vst1_lane_s32(reinterpret_cast<int32_t*>(p), vreinterpret_s32_s8(bytes), 0);
}

/// 2 neighbouring doubles, for products_f64.h.
using Doubles = float64x2_t;
/// Groups of columns whose sums are held at once: as many as there are registers for, less those of the factors.
constexpr int64_t kSumGroups = 1;

inline Doubles doubles_splat(double x) noexcept {
  return vdupq_n_f64(x);
}
inline Doubles doubles_fma(Doubles a, Doubles b, Doubles c) noexcept {
  return vfmaq_f64(c, a, b);
}

}  // namespace
}  // namespace thimble::kernels
