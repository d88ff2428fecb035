// The vocabulary of float kernels in AVX-512: 16 neighbouring floats in a register.
// Only for files compiled with that instruction set's flags; everything is in an anonymous namespace.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace thimble::kernels {
namespace {

constexpr int kWidth = 16;

using Vec = __m512;
using IntVec = __m512i;

inline __mmask16 first_lanes(int64_t n) noexcept {
  return static_cast<__mmask16>((1u << n) - 1u);
}

inline Vec vec_splat(float v) noexcept {
  return _mm512_set1_ps(v);
}
inline Vec vec_load(const float* p) noexcept {
  return _mm512_loadu_ps(p);
}
inline void vec_store(float* p, Vec v) noexcept {
  _mm512_storeu_ps(p, v);
}
/// The first n < kWidth lanes, the others zero; nothing is read or written past them.
inline Vec vec_load_part(const float* p, int64_t n) noexcept {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
inline void vec_store_part(float* p, Vec v, int64_t n) noexcept {
  _mm512_mask_storeu_ps(p, first_lanes(n), v);
}
inline Vec vec_keep(Vec v, int64_t n) noexcept {
  return _mm512_maskz_mov_ps(first_lanes(n), v);
}

inline Vec vec_load_f16(const uint16_t* p) noexcept {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec vec_load_f16_part(const uint16_t* p, int64_t n) noexcept {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
inline Vec vec_load_bf16(const uint16_t* p) noexcept {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
inline Vec vec_load_bf16_part(const uint16_t* p, int64_t n) noexcept {
  const __m256i half = _mm256_maskz_loadu_epi16(first_lanes(n), p);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
inline Vec vec_load_i8(const int8_t* p) noexcept {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline Vec vec_load_i8_part(const int8_t* p, int64_t n) noexcept {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first_lanes(n), p)));
}
inline void vec_store_f16(uint16_t* p, Vec v) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

inline Vec vec_add(Vec a, Vec b) noexcept {
  return _mm512_add_ps(a, b);
}
inline Vec vec_sub(Vec a, Vec b) noexcept {
  return _mm512_sub_ps(a, b);
}
inline Vec vec_mul(Vec a, Vec b) noexcept {
  return _mm512_mul_ps(a, b);
}
inline Vec vec_div(Vec a, Vec b) noexcept {
  return _mm512_div_ps(a, b);
}
inline Vec vec_max(Vec a, Vec b) noexcept {
  return _mm512_max_ps(a, b);
}
/// a * b + c with one rounding.
inline Vec vec_fma(Vec a, Vec b, Vec c) noexcept {
  return _mm512_fmadd_ps(a, b, c);
}
inline float vec_sum(Vec v) noexcept {
  return _mm512_reduce_add_ps(v);
}
inline float vec_largest(Vec v) noexcept {
  return _mm512_reduce_max_ps(v);
}
/// Lanes of `yes` where x > limit, else of `no`.
inline Vec vec_where_above(Vec x, Vec limit, Vec yes, Vec no) noexcept {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GT_OQ), no, yes);
}

/// Bits of |v|, and the largest of unsigned lanes.
inline IntVec vec_magnitude_bits(Vec v) noexcept {
  return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7FFFFFFF));
}
inline IntVec int_max(IntVec a, IntVec b) noexcept {
  return _mm512_max_epu32(a, b);
}
inline uint32_t int_largest(IntVec v) noexcept {
  return _mm512_reduce_max_epu32(v);
}
inline IntVec int_zero() noexcept {
  return _mm512_setzero_si512();
}
/// Nearest integers, ties to even.
inline IntVec vec_round(Vec v) noexcept {
  return _mm512_cvtps_epi32(v);
}
inline Vec int_to_vec(IntVec v) noexcept {
  return _mm512_cvtepi32_ps(v);
}
/// 2^v for -126 <= v <= 127.
inline Vec int_exp2(IntVec v) noexcept {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(v, _mm512_set1_epi32(127)), 23));
}
/// Stores lanes of -128..127 as kWidth bytes.
inline void int_store_i8(int8_t* p, IntVec v) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}

/// 8 neighbouring doubles, for products_f64.h.
using Doubles = __m512d;
/// Groups of columns whose sums are held at once: as many as there are registers for, less those of the factors.
constexpr int64_t kSumGroups = 4;

inline Doubles doubles_splat(double x) noexcept {
  return _mm512_set1_pd(x);
}
inline Doubles doubles_fma(Doubles a, Doubles b, Doubles c) noexcept {
  return _mm512_fmadd_pd(a, b, c);
}

}  // namespace
}  // namespace thimble::kernels
