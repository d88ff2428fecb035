// The vocabulary of int8 attention in AVX2: dot products of bytes with 8 keys or 8 dimensions in a register.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/ask_ahead.h"
#include "kernels/vector_kernel.h"

namespace thimble::kernels {
namespace {

constexpr int kScoreRows = 4;  // 8 sums, 2 keys and a query of the 16 registers
constexpr int kFewRowsTiles = 2;
constexpr int kFloatMixRows = 4;
constexpr int kFloatMixVecs = 2;
constexpr int kDotRows = 4;
constexpr int kDotMixRows = 4;
constexpr int kDotMixVecs = 1;

inline __m256i load_bytes(const void* p) noexcept {
  return _mm256_load_si256(static_cast<const __m256i*>(p));
}

inline int32_t dot_offset(const int8_t* /*q*/, int64_t /*dim*/) noexcept {
  return 0;
}

/// sums[2 i], sums[2 i + 1] = q_i . keys of one tile. vpmaddubsw wants one unsigned factor: |k| * sign(q, k) = k * q,
/// and as neither is -128 no pair of products leaves 16 bits.
template <int kRows>
inline void dot_keys(const int8_t* k, const int8_t* q, int64_t dim, const int32_t* /*offsets*/,
                     __m256i* sums) noexcept {
  __m256i dots[2 * kRows];
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
  for (int i = 0; i < 2 * kRows; ++i) dots[i] = _mm256_setzero_si256();
  for (int64_t d = 0; d < dim; d += 4) {
    const __m256i keys[2] = {load_bytes(k + d * kKeyLanes), load_bytes(k + d * kKeyLanes + 32)};
    const __m256i sizes[2] = {_mm256_abs_epi8(keys[0]), _mm256_abs_epi8(keys[1])};
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      int32_t x = 0;
      __builtin_memcpy(&x, q + i * dim + d, sizeof x);
      const __m256i query = _mm256_set1_epi32(x);
#pragma GCC unroll 2
      for (int t = 0; t < 2; ++t) {
        const __m256i pairs = _mm256_maddubs_epi16(sizes[t], _mm256_sign_epi8(query, keys[t]));
        dots[2 * i + t] = _mm256_add_epi32(dots[2 * i + t], _mm256_madd_epi16(pairs, ones));
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 2 * kRows; ++i) sums[i] = dots[i];
}

/// 8 rounded weights of a row from key j on, as 16-bit words.
inline void store_weights(void* weights, int64_t j, __m256i w) noexcept {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
  _mm_store_si128(reinterpret_cast<__m128i*>(static_cast<int16_t*>(weights) + j), words);
}

/// sums[i * kVecs + t] = sum over the keys of weight * value, rows from `first`, dimensions from d on.
template <int kRows, int kVecs>
inline void dot_values(const MixArgs& a, int64_t first, int64_t d, const void* ahead, __m256i* sums) noexcept {
  static_assert(kVecs == 1);
  const auto* v = static_cast<const int8_t*>(a.v) + d * 4;
  const auto* weights = static_cast<const int16_t*>(a.weights) + first * kKeyBlock;
  // Each dword of dots[2 i] belongs to half of four keys of one of four dimensions.
  __m256i dots[2 * kRows];
#pragma GCC unroll 8
  for (int i = 0; i < 2 * kRows; ++i) dots[i] = _mm256_setzero_si256();
  for (int64_t j = 0; j < a.n_keys; j += 4) {
    if (ahead != nullptr) ask_ahead(ahead, j * a.dim, 4 * a.dim);
    const auto* at = reinterpret_cast<const __m128i*>(v + j * a.dim);
    const __m256i values[2] = {_mm256_cvtepi8_epi16(_mm_load_si128(at)), _mm256_cvtepi8_epi16(_mm_load_si128(at + 1))};
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      int64_t x = 0;
      __builtin_memcpy(&x, weights + i * kKeyBlock + j, sizeof x);
      const __m256i weight = _mm256_set1_epi64x(x);
      dots[2 * i] = _mm256_add_epi32(dots[2 * i], _mm256_madd_epi16(values[0], weight));
      dots[2 * i + 1] = _mm256_add_epi32(dots[2 * i + 1], _mm256_madd_epi16(values[1], weight));
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    sums[i] = _mm256_permute4x64_epi64(_mm256_hadd_epi32(dots[2 * i], dots[2 * i + 1]), 0xD8);
  }
}

// vec_exp2: the parts of its argument, and scaling by the whole one.
inline __m256 whole_part(__m256 x) noexcept {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline __m256 times_power_of_2(__m256 p, __m256 n) noexcept {
  return _mm256_mul_ps(
      p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)));
}

}  // namespace
}  // namespace thimble::kernels
