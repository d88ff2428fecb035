// The vocabulary of tensor/lane_math.h in AVX-512.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace thimble {
namespace {

constexpr int kLanes = 16;
constexpr int kTogether = 4;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Floats lane_min(Floats a, Floats b) noexcept {
  return __builtin_bit_cast(Floats, _mm512_min_ps(__builtin_bit_cast(__m512, a), __builtin_bit_cast(__m512, b)));
}
inline Floats lane_max(Floats a, Floats b) noexcept {
  return __builtin_bit_cast(Floats, _mm512_max_ps(__builtin_bit_cast(__m512, a), __builtin_bit_cast(__m512, b)));
}
inline Floats lane_sqrt(Floats v) noexcept {
  return __builtin_bit_cast(Floats, _mm512_sqrt_ps(__builtin_bit_cast(__m512, v)));
}
inline void lane_store_codes(Ints codes, uint8_t* out) noexcept {
  const __m128i bytes = _mm512_cvtepi32_epi8(__builtin_bit_cast(__m512i, codes));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
}

}  // namespace
}  // namespace thimble
