// Sums of products of doubles for vector_kernel.h's add_products_f64, in the compiler's own vectors: a register holds
// neighbouring sums, each of which grows by one fused product at a time, so that all tables give the same bits however
// wide their registers are. Written against the vocabulary of simd_float_ISA.h, which must be included before this
// header.
#pragma once

#include <cstdint>

#include "kernels/vector_kernel.h"

namespace thimble::kernels {
namespace {

constexpr int64_t kSumRows = 4;
constexpr int64_t kDoubles = sizeof(Doubles) / sizeof(double);

// Rows [i, i + kRows) by the columns of groups [g, g + kGroups).
template <int64_t kRows, int64_t kGroups>
inline void add_products_tile(const ProductsArgs& p, int64_t i, int64_t g) noexcept {
  constexpr int64_t kPerGroup = kProductGroup / kDoubles;
  constexpr int64_t kVectors = kGroups * kPerGroup;
  Doubles sums[kRows][kVectors];
  double* const out = p.sums + i * p.sums_stride + g * kProductGroup;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kVectors; ++v) {
      __builtin_memcpy(&sums[r][v], out + r * p.sums_stride + v * kDoubles, sizeof(Doubles));
    }
  }
  const double* const a = p.a + i * p.a_stride;
  const double* const b = p.b + g * p.b_stride;
  for (int64_t k = 0; k < p.depth; ++k) {
    Doubles y[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) {
      const double* const from = b + v / kPerGroup * p.b_stride + k * kProductGroup + v % kPerGroup * kDoubles;
      __builtin_memcpy(&y[v], from, sizeof(Doubles));
    }
    for (int64_t r = 0; r < kRows; ++r) {
      const Doubles x = doubles_splat(a[r * p.a_stride + k]);
      for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = doubles_fma(x, y[v], sums[r][v]);
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kVectors; ++v) {
      __builtin_memcpy(out + r * p.sums_stride + v * kDoubles, &sums[r][v], sizeof(Doubles));
    }
  }
}

template <int64_t kGroups>
inline void add_products_groups(const ProductsArgs& p, int64_t g) noexcept {
  int64_t i = 0;
  for (; i + kSumRows <= p.n_a; i += kSumRows) add_products_tile<kSumRows, kGroups>(p, i, g);
  for (; i < p.n_a; ++i) add_products_tile<1, kGroups>(p, i, g);
}

// All rows by a few groups, which stay in the first cache, before the next ones.
inline void add_products_rows(const ProductsArgs& p) noexcept {
  int64_t g = 0;
  for (; g + kSumGroups <= p.n_groups; g += kSumGroups) add_products_groups<kSumGroups>(p, g);
  for (; g < p.n_groups; ++g) add_products_groups<1>(p, g);
}

}  // namespace
}  // namespace thimble::kernels
