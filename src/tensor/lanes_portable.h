// The vocabulary of lane_math.h and lane_rows.h without any instruction set in mind.
#pragma once

#include <cmath>
#include <cstdint>

namespace thimble {
namespace {

constexpr int kLanes = 4;
constexpr int kTogether = 2;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Floats lane_min(Floats a, Floats b) noexcept {
  return a < b ? a : b;
}
inline Floats lane_max(Floats a, Floats b) noexcept {
  return a > b ? a : b;
}
inline Floats lane_sqrt(Floats v) noexcept {
  for (int lane = 0; lane < kLanes; ++lane) v[lane] = std::sqrt(v[lane]);
  return v;
}
inline void lane_store_codes(Ints codes, uint8_t* out) noexcept {
  for (int lane = 0; lane < kLanes; ++lane) out[lane] = static_cast<uint8_t>(codes[lane]);
}

}  // namespace
}  // namespace thimble
