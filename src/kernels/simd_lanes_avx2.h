// The vocabulary of tensor/lane_math.h in AVX2.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace thimble {
namespace {

constexpr int kLanes = 8;
constexpr int kTogether = 2;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Floats lane_min(Floats a, Floats b) noexcept {
  return __builtin_bit_cast(Floats, _mm256_min_ps(__builtin_bit_cast(__m256, a), __builtin_bit_cast(__m256, b)));
}
inline Floats lane_max(Floats a, Floats b) noexcept {
  return __builtin_bit_cast(Floats, _mm256_max_ps(__builtin_bit_cast(__m256, a), __builtin_bit_cast(__m256, b)));
}
inline Floats lane_sqrt(Floats v) noexcept {
  return __builtin_bit_cast(Floats, _mm256_sqrt_ps(__builtin_bit_cast(__m256, v)));
}
inline void lane_store_codes(Ints codes, uint8_t* out) noexcept {
  const __m256i wide = __builtin_bit_cast(__m256i, codes);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(words, words));
}

}  // namespace
}  // namespace thimble
