// The vocabulary of tensor/lane_math.h in NEON. fmin and fmax treat NaN and zeros of either sign otherwise than
// a < b ? a : b, so minimum and maximum are a comparison and a select.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace thimble {
namespace {

constexpr int kLanes = 4;
constexpr int kTogether = 4;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Floats lane_min(Floats a, Floats b) noexcept {
  const auto x = __builtin_bit_cast(float32x4_t, a);
  const auto y = __builtin_bit_cast(float32x4_t, b);
  return __builtin_bit_cast(Floats, vbslq_f32(vcltq_f32(x, y), x, y));
}
inline Floats lane_max(Floats a, Floats b) noexcept {
  const auto x = __builtin_bit_cast(float32x4_t, a);
  const auto y = __builtin_bit_cast(float32x4_t, b);
  return __builtin_bit_cast(Floats, vbslq_f32(vcgtq_f32(x, y), x, y));
}
inline Floats lane_sqrt(Floats v) noexcept {
  return __builtin_bit_cast(Floats, vsqrtq_f32(__builtin_bit_cast(float32x4_t, v)));
}
inline void lane_store_codes(Ints codes, uint8_t* out) noexcept {
  const uint16x4_t words = vmovn_u32(__builtin_bit_cast(uint32x4_t, codes));
  const uint8x8_t bytes = vmovn_u16(vcombine_u16(words, words));
  vst1_lane_u32(reinterpret_cast<uint32_t*>(out), vreinterpret_u32_u8(bytes), 0);
}

}  // namespace
}  // namespace thimble
