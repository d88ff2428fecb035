// The vocabulary of panel kernels in AVX-512 with VNNI: a register holds one dword or float of each of 16 weight rows.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/ask_ahead.h"

namespace thimble::kernels {
namespace {

constexpr int kLanes = 16;
// A tile is 2 panels x 4 columns: 8 open and 8 finished integer sums; 6 loads feed 8 dot products. On Zen 4 it reaches
// what dot products, scale multiplications (same execution units) and corrections allow; 2 x 6 and 1 x 8 are no faster.
constexpr int kPanelsPerPass = 2;
constexpr int kColumns = 4;
constexpr int kFloatColumns = 6;  // of 2 panels: 12 sums, 2 weights and a column
// vpdpbusd multiplies unsigned by signed bytes: signed weights are stored with 128 added.
constexpr bool kUnsignedWeightsOnly = true;

/// Where the rows of a panel are read, and the address whose cache line is asked for next (load_chunk).
struct PanelRows {
  const uint8_t* row[kLanes];
  uintptr_t ahead;
};

using Ints = __m512i;
using Floats = __m512;

inline Ints splat(uint32_t v) noexcept {
  return _mm512_set1_epi32(static_cast<int>(v));
}
inline Ints bit_and(Ints a, Ints b) noexcept {
  return _mm512_and_si512(a, b);
}
inline Ints bit_or(Ints a, Ints b) noexcept {
  return _mm512_or_si512(a, b);
}
inline Ints bit_xor(Ints a, Ints b) noexcept {
  return _mm512_xor_si512(a, b);
}
inline Ints shr(Ints a, int n) noexcept {
  return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n));
}
inline Ints shl(Ints a, int n) noexcept {
  return _mm512_sll_epi32(a, _mm_cvtsi32_si128(n));
}
inline Ints sar(Ints a, int n) noexcept {
  return _mm512_sra_epi32(a, _mm_cvtsi32_si128(n));
}
/// The same by a number of bits that is a constant.
template <int kBits>
inline Ints shr(Ints a) noexcept {
  return _mm512_srli_epi32(a, kBits);
}
template <int kBits>
inline Ints shl(Ints a) noexcept {
  return _mm512_slli_epi32(a, kBits);
}
template <int kBits>
inline Ints sar(Ints a) noexcept {
  return _mm512_srai_epi32(a, kBits);
}
inline Ints add_ints(Ints a, Ints b) noexcept {
  return _mm512_add_epi32(a, b);
}
inline Ints sub_ints(Ints a, Ints b) noexcept {
  return _mm512_sub_epi32(a, b);
}
inline Ints mul_ints(Ints a, Ints b) noexcept {
  return _mm512_mullo_epi32(a, b);
}
inline Ints load_ints(const void* p) noexcept {
  return _mm512_load_si512(p);
}
inline Ints load_ints_unaligned(const void* p) noexcept {
  return _mm512_loadu_si512(p);
}
inline void store_ints(void* p, Ints v) noexcept {
  _mm512_store_si512(p, v);
}

inline Floats splat_float(float v) noexcept {
  return _mm512_set1_ps(v);
}
inline Floats load_floats(const float* p) noexcept {
  return _mm512_load_ps(p);
}
inline void store_floats(float* p, Floats v) noexcept {
  _mm512_store_ps(p, v);
}
inline void store_floats_unaligned(float* p, Floats v) noexcept {
  _mm512_storeu_ps(p, v);
}
inline Floats add_floats(Floats a, Floats b) noexcept {
  return _mm512_add_ps(a, b);
}
inline Floats sub_floats(Floats a, Floats b) noexcept {
  return _mm512_sub_ps(a, b);
}
inline Floats mul_floats(Floats a, Floats b) noexcept {
  return _mm512_mul_ps(a, b);
}
/// a * b + c with one rounding.
inline Floats fma_floats(Floats a, Floats b, Floats c) noexcept {
  return _mm512_fmadd_ps(a, b, c);
}
/// Bits as floats.
inline Floats as_floats(Ints v) noexcept {
  return _mm512_castsi512_ps(v);
}
inline Floats to_floats(Ints v) noexcept {
  return _mm512_cvtepi32_ps(v);
}

/// Half precision bits in the low 16 bits of each lane to floats.
inline Floats half_to_floats(Ints v) noexcept {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/// Byte kByte of each lane in all its bytes.
template <int kByte>
inline Ints repeat_byte(Ints v) noexcept {
  constexpr int kAll = kByte * 0x01010101;
  const __m128i index = _mm_setr_epi32(kAll, kAll + 0x04040404, kAll + 0x08080808, kAll + 0x0C0C0C0C);
  return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(index));
}
/// The smaller of each pair of unsigned bytes.
inline Ints min_bytes(Ints a, Ints b) noexcept {
  return _mm512_min_epu8(a, b);
}

/// kLanes half precision numbers, as floats.
inline Floats load_halves(const uint8_t* p) noexcept {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

/// kLanes halfwords, each in a lane.
inline Ints load_halfwords(const uint8_t* p) noexcept {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

/// table[nibble] for every byte of v (values 0..15).
inline Ints lookup(const int8_t* table, Ints v) noexcept {
  const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), v);
}

inline __m512i rows_apart(const uint8_t* const* row, size_t at) noexcept {
  const auto load = [&](int r) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row[r] + at)); };
  __m512i v = _mm512_castsi128_si512(load(0));
  v = _mm512_inserti32x4(v, load(4), 1);
  v = _mm512_inserti32x4(v, load(8), 2);
  return _mm512_inserti32x4(v, load(12), 3);
}

// From four neighbouring rows in each 128 bits to dword t of them all in out[t].
inline void transpose_rows(__m512i a, __m512i b, __m512i c, __m512i d, Ints* out) noexcept {
  const __m512i ab_low = _mm512_unpacklo_epi32(a, b);
  const __m512i ab_high = _mm512_unpackhi_epi32(a, b);
  const __m512i cd_low = _mm512_unpacklo_epi32(c, d);
  const __m512i cd_high = _mm512_unpackhi_epi32(c, d);
  out[0] = _mm512_unpacklo_epi64(ab_low, cd_low);
  out[1] = _mm512_unpackhi_epi64(ab_low, cd_low);
  out[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
  out[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
}

/// 16 bytes at offset `at` of every row: out[t] holds dword t of each row. Asks the second-level cache for as many
/// bytes further on: spread over the work like this, decode from memory is twice as fast as with one burst per panel.
inline void load_chunk(PanelRows& rows, size_t at, Ints* out) noexcept {
  ask_for(rows.ahead);
  ask_for(rows.ahead + 64);
  ask_for(rows.ahead + 128);
  ask_for(rows.ahead + 192);
  rows.ahead += 256;
  const __m512i a = rows_apart(rows.row, at);
  const __m512i b = rows_apart(rows.row + 1, at);
  const __m512i c = rows_apart(rows.row + 2, at);
  const __m512i d = rows_apart(rows.row + 3, at);
  transpose_rows(a, b, c, d, out);
}

/// Four chunks in a row, 64 bytes of every row: out[t] holds dword t of each. A row's bytes are read together: rows of
/// floats are often a multiple of 4 KiB apart, so their lines push each other out of the first-level cache.
inline void load_line(PanelRows& rows, size_t at, Ints* out) noexcept {
  __m512i parts[4][4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) parts[r][t] = rows_apart(rows.row + r, at + 16 * static_cast<size_t>(t));
  }
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) transpose_rows(parts[0][t], parts[1][t], parts[2][t], parts[3][t], out + 4 * t);
  for (int line = 0; line < kLanes; ++line) ask_for(rows.ahead + 64 * static_cast<size_t>(line));
  rows.ahead += 64 * kLanes;
}

/// How scales are kept in a panel, and pairs (low, high) of 16-bit factors for dot_pairs.
inline Ints pack_scale(Ints scale) noexcept {
  return scale;
}
inline Ints pack_pair(Ints low, Ints high) noexcept {
  return _mm512_mask_blend_epi16(0xAAAAAAAAu, low, _mm512_slli_epi32(high, 16));
}
/// acc + pair.low * x.low + pair.high * x.high, 16-bit factors.
inline Ints dot_pairs(Ints acc, Ints pair, int32_t x) noexcept {
  return _mm512_dpwssd_epi32(acc, pair, _mm512_set1_epi32(x));
}

/// acc + a.low * b.low + a.high * b.high, both pairs of signed halfwords.
inline Ints dot_words(Ints acc, Ints a, Ints b) noexcept {
  return _mm512_dpwssd_epi32(acc, a, b);
}
/// out[i] = x[i] * factor for i < 16; out is 64-byte aligned.
inline void multiply_halfwords(const int16_t* x, int factor, int32_t* out) noexcept {
  const __m512i wide = _mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(x)));
  _mm512_store_si512(out, _mm512_mullo_epi32(wide, _mm512_set1_epi32(factor)));
}

/// Sums of neighbours: out[i] = sums[2 i] + sums[2 i + 1], i < 8; as integers that fit 16 bits, or as floats times
/// factor.
inline void add_neighbours(const int16_t* sums, int16_t* out) noexcept {
  const __m128i* pairs = reinterpret_cast<const __m128i*>(sums);
  _mm_store_si128(reinterpret_cast<__m128i*>(out), _mm_hadd_epi16(_mm_load_si128(pairs), _mm_load_si128(pairs + 1)));
}
inline void scale_neighbours(const int16_t* sums, float factor, float* out) noexcept {
  const __m128i* pairs = reinterpret_cast<const __m128i*>(sums);
  const __m128i both = _mm_hadd_epi16(_mm_load_si128(pairs), _mm_load_si128(pairs + 1));
  _mm256_store_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(both)), _mm256_set1_ps(factor)));
}

/// Sums that a sub-block keeps open while its steps come in (take_step).
template <class Type, int kSteps>
inline constexpr int kOpenSums = 1;

/// Step kStep < kSteps of a sub-block: the last one adds the (scaled) dot product to sums. q: the sub-block's values.
template <class Type, int kSteps, bool kScaled, int kStep>
__attribute__((always_inline)) inline void take_step(Ints bytes, const int8_t* q, const int32_t* scale, Ints* open,
                                                     Ints& sums) noexcept {
  int32_t x = 0;
  __builtin_memcpy(&x, q + 4 * kStep, 4);
  if constexpr (!kScaled) {
    sums = _mm512_dpbusd_epi32(sums, bytes, _mm512_set1_epi32(x));
  } else {
    if (kStep == 0) open[0] = _mm512_setzero_si512();
    open[0] = _mm512_dpbusd_epi32(open[0], bytes, _mm512_set1_epi32(x));
    if (kStep + 1 == kSteps) sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(open[0], load_ints(scale)));
  }
}

/// sums[i * kCols + c] += (scale *) dot of kSteps dwords of panel i with q[c][at ..]; panels are `stride` bytes apart.
template <class Type, int kSteps, int kPanels, int kCols, bool kScaled>
inline void dot_tile(const uint8_t* w, const int32_t* scale, size_t stride, const int8_t* const* q, int at,
                     Ints* sums) noexcept {
  Ints dots[kPanels * kCols];
#pragma GCC unroll 16
  for (int i = 0; i < kPanels * kCols; ++i) dots[i] = kScaled ? _mm512_setzero_si512() : sums[i];
#pragma GCC unroll 8
  for (int s = 0; s < kSteps; ++s) {
    __m512i weights[kPanels];
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) weights[i] = _mm512_load_si512(w + stride * static_cast<size_t>(i) + 64 * s);
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      int32_t four = 0;
      __builtin_memcpy(&four, q[c] + at + 4 * s, 4);
      const __m512i x = _mm512_set1_epi32(four);
#pragma GCC unroll 2
      for (int i = 0; i < kPanels; ++i) dots[i * kCols + c] = _mm512_dpbusd_epi32(dots[i * kCols + c], weights[i], x);
    }
  }
#pragma GCC unroll 2
  for (int i = 0; i < kPanels; ++i) {
    const __m512i factor = kScaled ? load_ints(scale + stride / 4 * static_cast<size_t>(i)) : _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      Ints& sum = sums[i * kCols + c];
      sum = kScaled ? _mm512_add_epi32(sum, _mm512_mullo_epi32(dots[i * kCols + c], factor)) : dots[i * kCols + c];
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
