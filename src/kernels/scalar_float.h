// The reference matmul of F32, F16 and BF16 weights. Everything is in an anonymous namespace: each kernel file has its
// own copy.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/matmul_args.h"

namespace thimble::kernels {
namespace {

/// One output: parts of kFloatChunk products, each added up in order of k with one rounding per step, then the sum of
/// the parts. Short chains keep the rounding errors of long rows small and are what a tile of registers computes.
template <typename Bits, float (*widen)(Bits) noexcept>
void matmul_float_scalar(const MatmulArgs& a) noexcept {
  for (int64_t r = 0; r < a.n_rows; ++r) {
    const std::byte* row = a.weights + static_cast<size_t>(r) * a.weight_stride;
    for (int64_t c = 0; c < a.n_cols; ++c) {
      const auto* x = reinterpret_cast<const float*>(a.x + static_cast<size_t>(c) * a.x_stride);
      float sum = 0.0f;
      for (int64_t begin = 0; begin < a.k; begin += kFloatChunk) {
        float part = 0.0f;
        for (int64_t i = begin; i < a.k && i < begin + kFloatChunk; ++i) {
          Bits w = 0;
          std::memcpy(&w, row + static_cast<size_t>(i) * sizeof w, sizeof w);
          part = std::fma(widen(w), x[i], part);
        }
        sum += part;
      }
      a.out[static_cast<size_t>(c) * a.out_stride + static_cast<size_t>(r)] = sum;
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
