// The vocabulary of panel kernels in AVX2: a register holds one dword or float of each of 8 weight rows.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/ask_ahead.h"

namespace thimble::kernels {
namespace {

constexpr int kLanes = 8;
// A tile is 2 panels x 4 columns: 8 sums of halfwords, the weights and a column stay in the 16 registers; sums of
// dwords wait in memory for the end of a sub-block.
constexpr int kPanelsPerPass = 2;
constexpr int kColumns = 4;
constexpr int kFloatColumns = 6;  // of 2 panels: 12 sums, 2 weights and a column
constexpr bool kUnsignedWeightsOnly = false;

/// Where the rows of a panel are read, and the address whose cache line is asked for next (load_chunk).
struct PanelRows {
  const uint8_t* row[kLanes];
  uintptr_t ahead;
};

using Ints = __m256i;
using Floats = __m256;

inline Ints splat(uint32_t v) noexcept {
  return _mm256_set1_epi32(static_cast<int>(v));
}
inline Ints bit_and(Ints a, Ints b) noexcept {
  return _mm256_and_si256(a, b);
}
inline Ints bit_or(Ints a, Ints b) noexcept {
  return _mm256_or_si256(a, b);
}
inline Ints bit_xor(Ints a, Ints b) noexcept {
  return _mm256_xor_si256(a, b);
}
inline Ints shr(Ints a, int n) noexcept {
  return _mm256_srl_epi32(a, _mm_cvtsi32_si128(n));
}
inline Ints shl(Ints a, int n) noexcept {
  return _mm256_sll_epi32(a, _mm_cvtsi32_si128(n));
}
inline Ints sar(Ints a, int n) noexcept {
  return _mm256_sra_epi32(a, _mm_cvtsi32_si128(n));
}
/// The same by a number of bits that is a constant.
template <int kBits>
inline Ints shr(Ints a) noexcept {
  return _mm256_srli_epi32(a, kBits);
}
template <int kBits>
inline Ints shl(Ints a) noexcept {
  return _mm256_slli_epi32(a, kBits);
}
template <int kBits>
inline Ints sar(Ints a) noexcept {
  return _mm256_srai_epi32(a, kBits);
}
inline Ints add_ints(Ints a, Ints b) noexcept {
  return _mm256_add_epi32(a, b);
}
inline Ints sub_ints(Ints a, Ints b) noexcept {
  return _mm256_sub_epi32(a, b);
}
inline Ints mul_ints(Ints a, Ints b) noexcept {
  return _mm256_mullo_epi32(a, b);
}
inline Ints load_ints(const void* p) noexcept {
  return _mm256_load_si256(static_cast<const __m256i*>(p));
}
inline Ints load_ints_unaligned(const void* p) noexcept {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline void store_ints(void* p, Ints v) noexcept {
  _mm256_store_si256(static_cast<__m256i*>(p), v);
}

inline Floats splat_float(float v) noexcept {
  return _mm256_set1_ps(v);
}
inline Floats load_floats(const float* p) noexcept {
  return _mm256_load_ps(p);
}
inline void store_floats(float* p, Floats v) noexcept {
  _mm256_store_ps(p, v);
}
inline void store_floats_unaligned(float* p, Floats v) noexcept {
  _mm256_storeu_ps(p, v);
}
inline Floats add_floats(Floats a, Floats b) noexcept {
  return _mm256_add_ps(a, b);
}
inline Floats sub_floats(Floats a, Floats b) noexcept {
  return _mm256_sub_ps(a, b);
}
inline Floats mul_floats(Floats a, Floats b) noexcept {
  return _mm256_mul_ps(a, b);
}
/// a * b + c with one rounding.
inline Floats fma_floats(Floats a, Floats b, Floats c) noexcept {
  return _mm256_fmadd_ps(a, b, c);
}
/// Bits as floats.
inline Floats as_floats(Ints v) noexcept {
  return _mm256_castsi256_ps(v);
}
inline Floats to_floats(Ints v) noexcept {
  return _mm256_cvtepi32_ps(v);
}

/// Half precision bits in the low 16 bits of each lane to floats.
inline Floats half_to_floats(Ints v) noexcept {
  const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xFFFF));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}

/// Byte kByte of each lane in all its bytes.
template <int kByte>
inline Ints repeat_byte(Ints v) noexcept {
  constexpr int kAll = kByte * 0x01010101;
  const __m128i index = _mm_setr_epi32(kAll, kAll + 0x04040404, kAll + 0x08080808, kAll + 0x0C0C0C0C);
  return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(index));
}
/// The smaller of each pair of unsigned bytes.
inline Ints min_bytes(Ints a, Ints b) noexcept {
  return _mm256_min_epu8(a, b);
}

/// kLanes half precision numbers, as floats.
inline Floats load_halves(const uint8_t* p) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

/// kLanes halfwords, each in a lane.
inline Ints load_halfwords(const uint8_t* p) noexcept {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

/// table[nibble] for every byte of v (values 0..15).
inline Ints lookup(const int8_t* table, Ints v) noexcept {
  const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), v);
}

inline __m256i rows_apart(const uint8_t* const* row, size_t at) noexcept {
  const auto load = [&](int r) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row[r] + at)); };
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load(0)), load(4), 1);
}

// From four neighbouring rows in each 128 bits to dword t of them all in out[t].
inline void transpose_rows(__m256i a, __m256i b, __m256i c, __m256i d, Ints* out) noexcept {
  const __m256i ab_low = _mm256_unpacklo_epi32(a, b);
  const __m256i ab_high = _mm256_unpackhi_epi32(a, b);
  const __m256i cd_low = _mm256_unpacklo_epi32(c, d);
  const __m256i cd_high = _mm256_unpackhi_epi32(c, d);
  out[0] = _mm256_unpacklo_epi64(ab_low, cd_low);
  out[1] = _mm256_unpackhi_epi64(ab_low, cd_low);
  out[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
  out[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
}

/// 16 bytes at offset `at` of every row: out[t] holds dword t of each row. Asks the second-level cache for as many
/// bytes further on: spread over the work like this, decode from memory is twice as fast as with one burst per panel.
inline void load_chunk(PanelRows& rows, size_t at, Ints* out) noexcept {
  ask_for(rows.ahead);
  ask_for(rows.ahead + 64);
  rows.ahead += 128;
  const __m256i a = rows_apart(rows.row, at);
  const __m256i b = rows_apart(rows.row + 1, at);
  const __m256i c = rows_apart(rows.row + 2, at);
  const __m256i d = rows_apart(rows.row + 3, at);
  transpose_rows(a, b, c, d, out);
}

/// Four chunks in a row, 64 bytes of every row: out[t] holds dword t of each. A row's bytes are read together: rows of
/// floats are often a multiple of 4 KiB apart, so their lines push each other out of the first-level cache.
inline void load_line(PanelRows& rows, size_t at, Ints* out) noexcept {
  __m256i parts[4][4];
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

/// How scales are kept in a panel (the factor of vpmaddwd), and pairs (low, high) of 16-bit factors for dot_pairs.
inline Ints pack_pair(Ints low, Ints high) noexcept {
  return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA);
}
inline Ints pack_scale(Ints scale) noexcept {
  return pack_pair(scale, scale);
}
/// acc + pair.low * x.low + pair.high * x.high, 16-bit factors.
inline Ints dot_pairs(Ints acc, Ints pair, int32_t x) noexcept {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pair, _mm256_set1_epi32(x)));
}

// a + b. The compiler may not put such sums in another order: given the choice it delays all additions of an unrolled
// loop and spills the products (GCC 12 halves the speed of dot products like this).
__attribute__((always_inline)) inline __m256i add_words(__m256i a, __m256i b) noexcept {
  __m256i sum = _mm256_add_epi16(a, b);
  __asm__("" : "+x"(sum));
  return sum;
}
__attribute__((always_inline)) inline __m256i add_dwords(__m256i a, __m256i b) noexcept {
  __m256i sum = _mm256_add_epi32(a, b);
  __asm__("" : "+x"(sum));
  return sum;
}

// Dwords whose vpmaddubsw results fit one 16-bit sum: each is at most 2 * 127 * the largest weight byte. A signed
// weight reaches 128, whose 32,512 fits once; vpmaddubsw itself saturates at 32,767 only beyond a weight of 129.
template <class Type>
constexpr int steps_per_sum() noexcept {
  const int fit = Type::kSigned ? 1 : 32767 / (Type::kMaxByte * 254);
  return fit >= 8 ? 8 : (fit >= 4 ? 4 : fit);
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
inline constexpr int kStepsPerSum = steps_per_sum<Type>() < kSteps ? steps_per_sum<Type>() : kSteps;
template <class Type, int kSteps>
inline constexpr int kOpenSums = kSteps / kStepsPerSum<Type, kSteps>;

/// Step kStep < kSteps of a sub-block: the last one of each 16-bit sum adds it (scaled) to sums. q: the sub-block's
/// values.
template <class Type, int kSteps, bool kScaled, int kStep>
__attribute__((always_inline)) inline void take_step(Ints bytes, const int8_t* q, const int32_t* scale, Ints* open,
                                                     Ints& sums) noexcept {
  constexpr int kRun = kStepsPerSum<Type, kSteps>;
  int32_t four = 0;
  __builtin_memcpy(&four, q + 4 * kStep, 4);
  const __m256i x = _mm256_set1_epi32(four);
  const __m256i products = Type::kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(bytes), _mm256_sign_epi8(x, bytes))
                                         : _mm256_maddubs_epi16(bytes, x);
  Ints& words = open[kStep / kRun];
  words = kStep % kRun == 0 ? products : add_words(words, products);
  if constexpr (kStep % kRun == kRun - 1) {
    sums = add_dwords(sums, _mm256_madd_epi16(words, kScaled ? load_ints(scale) : _mm256_set1_epi16(1)));
  }
}

/// sums[i * kCols + c] += (scale *) dot of kSteps dwords of panel i with q[c][at ..]; panels are `stride` bytes apart.
template <class Type, int kSteps, int kPanels, int kCols, bool kScaled>
inline void dot_tile(const uint8_t* w, const int32_t* scale, size_t stride, const int8_t* const* q, int at,
                     Ints* sums) noexcept {
  constexpr int kRun = kStepsPerSum<Type, kSteps>;
#pragma GCC unroll 8
  for (int first = 0; first < kSteps; first += kRun) {
    Ints words[kPanels * kCols];
#pragma GCC unroll 8
    for (int s = first; s < first + kRun; ++s) {
      __m256i weights[kPanels];
#pragma GCC unroll 2
      for (int i = 0; i < kPanels; ++i) weights[i] = load_ints(w + stride * static_cast<size_t>(i) + 32 * s);
#pragma GCC unroll 4
      for (int c = 0; c < kCols; ++c) {
        int32_t four = 0;
        __builtin_memcpy(&four, q[c] + at + 4 * s, 4);
        const __m256i x = _mm256_set1_epi32(four);
#pragma GCC unroll 2
        for (int i = 0; i < kPanels; ++i) {
          const __m256i products =
              Type::kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(weights[i]), _mm256_sign_epi8(x, weights[i]))
                            : _mm256_maddubs_epi16(weights[i], x);
          Ints& word = words[i * kCols + c];
          word = s == first ? products : add_words(word, products);
        }
      }
    }
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      const Ints factor = kScaled ? load_ints(scale + stride / 4 * static_cast<size_t>(i)) : _mm256_set1_epi16(1);
#pragma GCC unroll 4
      for (int c = 0; c < kCols; ++c) {
        Ints& sum = sums[i * kCols + c];
        sum = add_dwords(sum, _mm256_madd_epi16(words[i * kCols + c], factor));
      }
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
