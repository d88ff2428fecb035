// Sums of a row of floats, written against the float vocabulary (simd_float_<isa>.h, included before this header).
#pragma once

namespace thimble::kernels {
namespace {

// A sum in kSumLanes running parts, whatever the width of a register: every instruction set adds in the same order and
// ends with the same bits. Part l takes elements l, l + 16, ...; the parts are added in halves.
constexpr int kSumLanes = 16;
constexpr int kSumVecs = kSumLanes / kWidth;

inline float total_of(Vec* parts) noexcept {
#pragma GCC unroll 4
  for (int half = kSumVecs / 2; half > 0; half /= 2) {
#pragma GCC unroll 4
    for (int t = 0; t < half; ++t) parts[t] = vec_add(parts[t], parts[t + half]);
  }
  return vec_sum(parts[0]);
}

}  // namespace
}  // namespace thimble::kernels
