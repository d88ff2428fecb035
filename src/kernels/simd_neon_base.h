// What the vocabularies of panel kernels in NEON share: a register holds one dword or float of each of 4 weight rows.
// simd_neon.h, simd_neon_dotprod.h and simd_neon_i8mm.h add the dot products of their instruction set. Only for files
// compiled with that set's flags; everything is in an anonymous namespace.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/ask_ahead.h"

namespace thimble::kernels {
namespace {

constexpr int kLanes = 4;
constexpr bool kUnsignedWeightsOnly = false;

/// Where the rows of a panel are read, and the address whose cache line is asked for next (load_chunk).
struct PanelRows {
  const uint8_t* row[kLanes];
  uintptr_t ahead;
};

using Ints = uint32x4_t;
using Floats = float32x4_t;

inline int32x4_t as_signed(Ints v) noexcept {
  return vreinterpretq_s32_u32(v);
}
inline Ints as_ints(int32x4_t v) noexcept {
  return vreinterpretq_u32_s32(v);
}

inline Ints splat(uint32_t v) noexcept {
  return vdupq_n_u32(v);
}
inline Ints bit_and(Ints a, Ints b) noexcept {
  return vandq_u32(a, b);
}
inline Ints bit_or(Ints a, Ints b) noexcept {
  return vorrq_u32(a, b);
}
inline Ints bit_xor(Ints a, Ints b) noexcept {
  return veorq_u32(a, b);
}
inline Ints shr(Ints a, int n) noexcept {
  return a >> n;  // an immediate wherever n is a constant after inlining, which vshlq_u32 never becomes
}
inline Ints shl(Ints a, int n) noexcept {
  return a << n;
}
inline Ints sar(Ints a, int n) noexcept {
  return as_ints(as_signed(a) >> n);
}
/// The same by a number of bits that is a constant.
template <int kBits>
inline Ints shr(Ints a) noexcept {
  return a >> kBits;
}
template <int kBits>
inline Ints shl(Ints a) noexcept {
  return a << kBits;
}
template <int kBits>
inline Ints sar(Ints a) noexcept {
  return as_ints(as_signed(a) >> kBits);
}
inline Ints add_ints(Ints a, Ints b) noexcept {
  return vaddq_u32(a, b);
}
inline Ints sub_ints(Ints a, Ints b) noexcept {
  return vsubq_u32(a, b);
}
inline Ints mul_ints(Ints a, Ints b) noexcept {
  return vmulq_u32(a, b);
}
inline Ints load_ints(const void* p) noexcept {
  return vld1q_u32(static_cast<const uint32_t*>(p));
}
inline Ints load_ints_unaligned(const void* p) noexcept {
  return vreinterpretq_u32_u8(vld1q_u8(static_cast<const uint8_t*>(p)));
}
inline void store_ints(void* p, Ints v) noexcept {
  vst1q_u32(static_cast<uint32_t*>(p), v);
}

inline Floats splat_float(float v) noexcept {
  return vdupq_n_f32(v);
}
inline Floats load_floats(const float* p) noexcept {
  return vld1q_f32(p);
}
inline void store_floats(float* p, Floats v) noexcept {
  vst1q_f32(p, v);
}
inline void store_floats_unaligned(float* p, Floats v) noexcept {
  vst1q_f32(p, v);
}
inline Floats add_floats(Floats a, Floats b) noexcept {
  return vaddq_f32(a, b);
}
inline Floats sub_floats(Floats a, Floats b) noexcept {
  return vsubq_f32(a, b);
}
inline Floats mul_floats(Floats a, Floats b) noexcept {
  return vmulq_f32(a, b);
}
inline Floats to_floats(Ints v) noexcept {
  return vcvtq_f32_s32(as_signed(v));
}

/// Half precision bits in the low 16 bits of each lane to floats.
inline Floats half_to_floats(Ints v) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(v)));
}

/// Byte kByte of each lane in all its bytes.
template <int kByte>
inline Ints repeat_byte(Ints v) noexcept {
  constexpr uint8_t b = kByte;
  static const uint8_t kIndex[16] = {b,     b,     b,     b,     b + 4,  b + 4,  b + 4,  b + 4,
                                     b + 8, b + 8, b + 8, b + 8, b + 12, b + 12, b + 12, b + 12};
  return vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(v), vld1q_u8(kIndex)));
}
/// The smaller of each pair of unsigned bytes.
inline Ints min_bytes(Ints a, Ints b) noexcept {
  return vreinterpretq_u32_u8(vminq_u8(vreinterpretq_u8_u32(a), vreinterpretq_u8_u32(b)));
}

/// kLanes half precision numbers, as floats.
inline Floats load_halves(const uint8_t* p) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

/// table[nibble] for every byte of v (values 0..15).
inline Ints lookup(const int8_t* table, Ints v) noexcept {
  return vreinterpretq_u32_s8(vqtbl1q_s8(vld1q_s8(table), vreinterpretq_u8_u32(v)));
}

/// 16 bytes at offset `at` of every row: out[t] holds dword t of each row. Asks the second-level cache for as many
/// bytes further on: spread over the work like this, decode from memory is twice as fast as with one burst per panel.
inline void load_chunk(PanelRows& rows, size_t at, Ints* out) noexcept {
  ask_for(rows.ahead);
  rows.ahead += 64;
  const uint32x4_t a = vreinterpretq_u32_u8(vld1q_u8(rows.row[0] + at));
  const uint32x4_t b = vreinterpretq_u32_u8(vld1q_u8(rows.row[1] + at));
  const uint32x4_t c = vreinterpretq_u32_u8(vld1q_u8(rows.row[2] + at));
  const uint32x4_t d = vreinterpretq_u32_u8(vld1q_u8(rows.row[3] + at));
  const uint64x2_t ab_low = vreinterpretq_u64_u32(vzip1q_u32(a, b));
  const uint64x2_t ab_high = vreinterpretq_u64_u32(vzip2q_u32(a, b));
  const uint64x2_t cd_low = vreinterpretq_u64_u32(vzip1q_u32(c, d));
  const uint64x2_t cd_high = vreinterpretq_u64_u32(vzip2q_u32(c, d));
  out[0] = vreinterpretq_u32_u64(vzip1q_u64(ab_low, cd_low));
  out[1] = vreinterpretq_u32_u64(vzip2q_u64(ab_low, cd_low));
  out[2] = vreinterpretq_u32_u64(vzip1q_u64(ab_high, cd_high));
  out[3] = vreinterpretq_u32_u64(vzip2q_u64(ab_high, cd_high));
}

/// Sums of neighbours: out[i] = sums[2 i] + sums[2 i + 1], i < 8; as integers that fit 16 bits, or as floats times
/// factor.
inline void add_neighbours(const int16_t* sums, int16_t* out) noexcept {
  vst1q_s16(out, vpaddq_s16(vld1q_s16(sums), vld1q_s16(sums + 8)));
}
inline void scale_neighbours(const int16_t* sums, float factor, float* out) noexcept {
  const int16x8_t both = vpaddq_s16(vld1q_s16(sums), vld1q_s16(sums + 8));
  vst1q_f32(out, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(both))), factor));
  vst1q_f32(out + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(both)), factor));
}

/// How scales are kept in a panel, and pairs (low, high) of 16-bit factors for dot_pairs.
inline Ints pack_scale(Ints scale) noexcept {
  return scale;
}
inline Ints pack_pair(Ints low, Ints high) noexcept {
  return vsliq_n_u32(low, high, 16);
}
/// acc + pair.low * x.low + pair.high * x.high, 16-bit factors.
inline Ints dot_pairs(Ints acc, Ints pair, int32_t x) noexcept {
  const int16x8_t factors = vreinterpretq_s16_u32(pair);
  const int16x4_t values = vreinterpret_s16_s32(vdup_n_s32(x));
  const int32x4_t first = vmull_s16(vget_low_s16(factors), values);
  const int32x4_t second = vmull_s16(vget_high_s16(factors), values);
  return vaddq_u32(acc, as_ints(vpaddq_s32(first, second)));
}

/// Columns of a tile. Panels of a tile are each vocabulary's kPanelsPerPass.
constexpr int kColumns = 4;

}  // namespace
}  // namespace thimble::kernels
