// The vocabulary of float kernels in AVX2: 8 neighbouring floats in a register.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace thimble::kernels {
namespace {

constexpr int kWidth = 8;

using Vec = __m256;
using IntVec = __m256i;

static const int32_t kLaneMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

inline __m256i first_lanes(int64_t n) noexcept {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLaneMask + 8 - n));
}

// The first n of eight small values; `Bits` is what they are read as.
template <typename Bits>
inline __m128i load_small_part(const void* p, int64_t n) noexcept {
  alignas(16) Bits values[16 / sizeof(Bits)] = {};
  __builtin_memcpy(values, p, static_cast<size_t>(n) * sizeof(Bits));
  return _mm_load_si128(reinterpret_cast<const __m128i*>(values));
}

inline Vec vec_splat(float v) noexcept {
  return _mm256_set1_ps(v);
}
inline Vec vec_load(const float* p) noexcept {
  return _mm256_loadu_ps(p);
}
inline void vec_store(float* p, Vec v) noexcept {
  _mm256_storeu_ps(p, v);
}
/// The first n < kWidth lanes, the others zero; nothing is read or written past them.
inline Vec vec_load_part(const float* p, int64_t n) noexcept {
  return _mm256_maskload_ps(p, first_lanes(n));
}
inline void vec_store_part(float* p, Vec v, int64_t n) noexcept {
  _mm256_maskstore_ps(p, first_lanes(n), v);
}
inline Vec vec_keep(Vec v, int64_t n) noexcept {
  return _mm256_and_ps(v, _mm256_castsi256_ps(first_lanes(n)));
}

inline Vec vec_load_f16(const uint16_t* p) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec vec_load_f16_part(const uint16_t* p, int64_t n) noexcept {
  return _mm256_cvtph_ps(load_small_part<uint16_t>(p, n));
}
inline Vec bf16_to_vec(__m128i half) noexcept {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
inline Vec vec_load_bf16(const uint16_t* p) noexcept {
  return bf16_to_vec(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec vec_load_bf16_part(const uint16_t* p, int64_t n) noexcept {
  return bf16_to_vec(load_small_part<uint16_t>(p, n));
}
inline Vec vec_load_i8(const int8_t* p) noexcept {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline Vec vec_load_i8_part(const int8_t* p, int64_t n) noexcept {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_small_part<int8_t>(p, n)));
}
inline void vec_store_f16(uint16_t* p, Vec v) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

inline Vec vec_add(Vec a, Vec b) noexcept {
  return _mm256_add_ps(a, b);
}
inline Vec vec_sub(Vec a, Vec b) noexcept {
  return _mm256_sub_ps(a, b);
}
inline Vec vec_mul(Vec a, Vec b) noexcept {
  return _mm256_mul_ps(a, b);
}
inline Vec vec_div(Vec a, Vec b) noexcept {
  return _mm256_div_ps(a, b);
}
inline Vec vec_max(Vec a, Vec b) noexcept {
  return _mm256_max_ps(a, b);
}
/// a * b + c with one rounding.
inline Vec vec_fma(Vec a, Vec b, Vec c) noexcept {
  return _mm256_fmadd_ps(a, b, c);
}
inline float vec_sum(Vec v) noexcept {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float vec_largest(Vec v) noexcept {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
/// Lanes of `yes` where x > limit, else of `no`.
inline Vec vec_where_above(Vec x, Vec limit, Vec yes, Vec no) noexcept {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(x, limit, _CMP_GT_OQ));
}

/// Bits of |v|, and the largest of unsigned lanes.
inline IntVec vec_magnitude_bits(Vec v) noexcept {
  return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7FFFFFFF));
}
inline IntVec int_max(IntVec a, IntVec b) noexcept {
  return _mm256_max_epu32(a, b);
}
inline uint32_t int_largest(IntVec v) noexcept {
  const __m128i four = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i two = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4E));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32(two, 0xB1))));
}
inline IntVec int_zero() noexcept {
  return _mm256_setzero_si256();
}
/// Nearest integers, ties to even.
inline IntVec vec_round(Vec v) noexcept {
  return _mm256_cvtps_epi32(v);
}
inline Vec int_to_vec(IntVec v) noexcept {
  return _mm256_cvtepi32_ps(v);
}
/// 2^v for -126 <= v <= 127.
inline Vec int_exp2(IntVec v) noexcept {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(v, _mm256_set1_epi32(127)), 23));
}
/// Stores lanes of -128..127 as kWidth bytes.
inline void int_store_i8(int8_t* p, IntVec v) noexcept {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}

/// 4 neighbouring doubles, for products_f64.h.
using Doubles = __m256d;
/// Groups of columns whose sums are held at once: as many as there are registers for, less those of the factors.
constexpr int64_t kSumGroups = 1;

inline Doubles doubles_splat(double x) noexcept {
  return _mm256_set1_pd(x);
}
inline Doubles doubles_fma(Doubles a, Doubles b, Doubles c) noexcept {
  return _mm256_fmadd_pd(a, b, c);
}

}  // namespace
}  // namespace thimble::kernels
