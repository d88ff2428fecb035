// The matmul of F32, F16 and BF16 weights, written against a vocabulary (simd_float_<isa>.h, included before this
// header): weights are widened in registers and multiplied by float activations, a tile of rows x columns at a time.
// Every output has one vector of partial sums over k and one final sum, whatever the tile: results do not depend on
// n_cols or n_rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"

namespace thimble::kernels {
namespace {

// Columns whose activations stay in the second-level cache while the rows go by: 512 KiB at k = 2048.
constexpr int64_t kColumnBlock = 64;

struct ElementF32 {
  using Bits = float;
  static Vec load(const float* p) noexcept { return vec_load(p); }
  static Vec load_part(const float* p, int64_t n) noexcept { return vec_load_part(p, n); }
};
struct ElementF16 {
  using Bits = uint16_t;
  static Vec load(const uint16_t* p) noexcept { return vec_load_f16(p); }
  static Vec load_part(const uint16_t* p, int64_t n) noexcept { return vec_load_f16_part(p, n); }
};
struct ElementBf16 {
  using Bits = uint16_t;
  static Vec load(const uint16_t* p) noexcept { return vec_load_bf16(p); }
  static Vec load_part(const uint16_t* p, int64_t n) noexcept { return vec_load_bf16_part(p, n); }
};

template <class Element, int kRows, int kCols>
inline void multiply_float_tile(const MatmulArgs& a, int64_t row, int64_t column) noexcept {
  using Bits = typename Element::Bits;
  const Bits* w[kRows];
  const float* x[kCols];
  Vec sums[kRows * kCols];
  for (int r = 0; r < kRows; ++r) {
    w[r] = reinterpret_cast<const Bits*>(a.weights + static_cast<size_t>(row + r) * a.weight_stride);
  }
  for (int c = 0; c < kCols; ++c) {
    x[c] = reinterpret_cast<const float*>(a.x + static_cast<size_t>(column + c) * a.x_stride);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows * kCols; ++i) sums[i] = vec_splat(0.0f);
  int64_t k = 0;
  for (; k + kWidth <= a.k; k += kWidth) {
    Vec weights[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) weights[r] = Element::load(w[r] + k);
#pragma GCC unroll 4
    for (int c = 0; c < kCols; ++c) {
      const Vec values = vec_load(x[c] + k);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[r * kCols + c] = vec_fma(weights[r], values, sums[r * kCols + c]);
    }
  }
  if (k < a.k) {
    for (int c = 0; c < kCols; ++c) {
      const Vec values = vec_load_part(x[c] + k, a.k - k);
      for (int r = 0; r < kRows; ++r) {
        sums[r * kCols + c] = vec_fma(Element::load_part(w[r] + k, a.k - k), values, sums[r * kCols + c]);
      }
    }
  }
  for (int c = 0; c < kCols; ++c) {
    float* out = a.out + static_cast<size_t>(column + c) * a.out_stride + static_cast<size_t>(row);
    for (int r = 0; r < kRows; ++r) out[r] = vec_sum(sums[r * kCols + c]);
  }
}

template <class Element, int kRows>
inline void multiply_float_rows(const MatmulArgs& a, int64_t row, int64_t column, int64_t column_end) noexcept {
  for (; column + kTileCols <= column_end; column += kTileCols) {
    multiply_float_tile<Element, kRows, kTileCols>(a, row, column);
  }
  for (; column < column_end; ++column) multiply_float_tile<Element, kRows, 1>(a, row, column);
}

template <class Element>
inline void matmul_floats(const MatmulArgs& a) noexcept {
  for (int64_t column = 0; column < a.n_cols; column += kColumnBlock) {
    const int64_t end = column + kColumnBlock < a.n_cols ? column + kColumnBlock : a.n_cols;
    int64_t row = 0;
    for (; row + kTileRows <= a.n_rows; row += kTileRows) multiply_float_rows<Element, kTileRows>(a, row, column, end);
    for (; row < a.n_rows; ++row) multiply_float_rows<Element, 1>(a, row, column, end);
  }
}

}  // namespace
}  // namespace thimble::kernels
