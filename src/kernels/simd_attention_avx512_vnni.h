// The vocabulary of int8 attention in AVX-512 VNNI: dot products of bytes with 16 keys or 16 dimensions in a register.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/ask_ahead.h"
#include "kernels/vector_kernel.h"

namespace thimble::kernels {
namespace {

constexpr int kScoreRows = 8;
constexpr int kFewRowsTiles = 4;
constexpr int kFloatMixRows = 8;  // 16 sums, 2 values and a weight
constexpr int kFloatMixVecs = 2;
constexpr int kDotRows = 8;
constexpr int kDotMixRows = 4;  // 16 sums (two halves of each weight), 2 values and 2 weights
constexpr int kDotMixVecs = 2;

inline __m512i splat_dword(const void* p) noexcept {
  int32_t x = 0;
  __builtin_memcpy(&x, p, sizeof x);
  return _mm512_set1_epi32(x);
}

/// vpdpbusd multiplies unsigned by signed bytes: dot_keys adds 128 to the keys, and this is what makes up for it.
inline int32_t dot_offset(const int8_t* q, int64_t dim) noexcept {
  __m128i sum = _mm_setzero_si128();
  for (int64_t d = 0; d < dim; d += 16) {
    sum = _mm_dpbusd_epi32(sum, _mm_set1_epi8(-128), _mm_load_si128(reinterpret_cast<const __m128i*>(q + d)));
  }
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
  return -_mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1)));
}

/// sums[i] = q_i . keys of one tile, plus offsets[i] for the bias of the keys.
template <int kRows>
inline void dot_keys(const int8_t* k, const int8_t* q, int64_t dim, const int32_t* offsets, __m512i* sums) noexcept {
  __m512i dots[kRows];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) dots[i] = _mm512_set1_epi32(offsets[i]);
  for (int64_t d = 0; d < dim; d += 4) {
    const __m512i keys = _mm512_xor_si512(_mm512_load_si512(k + d * kKeyLanes), _mm512_set1_epi8(-128));
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) dots[i] = _mm512_dpbusd_epi32(dots[i], keys, splat_dword(q + i * dim + d));
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) sums[i] = dots[i];
}

/// 16 rounded weights of a row from key j on: high halves (7 bits), and kKeyBlock bytes further on the low ones.
inline void store_weights(void* weights, int64_t j, __m512i w) noexcept {
  auto* bytes = static_cast<uint8_t*>(weights) + j;
  _mm_store_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtepi32_epi8(_mm512_srli_epi32(w, 7)));
  _mm_store_si128(reinterpret_cast<__m128i*>(bytes + kKeyBlock),
                  _mm512_cvtepi32_epi8(_mm512_and_si512(w, _mm512_set1_epi32(127))));
}

/// sums[i * kVecs + t] = sum over the keys of weight * value, rows from `first`, dimensions from d on.
template <int kRows, int kVecs>
inline void dot_values(const MixArgs& a, int64_t first, int64_t d, const void* ahead, __m512i* sums) noexcept {
  const auto* v = static_cast<const int8_t*>(a.v) + d * 4;
  const auto* weights = static_cast<const uint8_t*>(a.weights) + first * 2 * kKeyBlock;
  __m512i high[kRows * kVecs], low[kRows * kVecs];
#pragma GCC unroll 16
  for (int i = 0; i < kRows * kVecs; ++i) high[i] = low[i] = _mm512_setzero_si512();
  for (int64_t j = 0; j < a.n_keys; j += 4) {
    if (ahead != nullptr) ask_ahead(ahead, j * a.dim, 4 * a.dim);
    __m512i values[kVecs];
#pragma GCC unroll 4
    for (int t = 0; t < kVecs; ++t) values[t] = _mm512_load_si512(v + j * a.dim + 64 * t);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const __m512i high_weight = splat_dword(weights + i * 2 * kKeyBlock + j);
      const __m512i low_weight = splat_dword(weights + i * 2 * kKeyBlock + kKeyBlock + j);
#pragma GCC unroll 4
      for (int t = 0; t < kVecs; ++t) {
        high[i * kVecs + t] = _mm512_dpbusd_epi32(high[i * kVecs + t], high_weight, values[t]);
        low[i * kVecs + t] = _mm512_dpbusd_epi32(low[i * kVecs + t], low_weight, values[t]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows * kVecs; ++i) sums[i] = _mm512_add_epi32(_mm512_slli_epi32(high[i], 7), low[i]);
}

// vec_exp2: the parts of its argument, and scaling by the whole one.
inline __m512 whole_part(__m512 x) noexcept {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline __m512 times_power_of_2(__m512 p, __m512 n) noexcept {
  return _mm512_scalef_ps(p, n);
}

}  // namespace
}  // namespace thimble::kernels
