// Sums of products of doubles for vector_kernel.h's add_products_f64, in the compiler's own vectors: four lanes on
// every instruction set, in as many registers as that takes, so that all tables give the same bits. Included by files
// compiled for one instruction set.
#pragma once

#include <cstdint>

#include "kernels/vector_kernel.h"

namespace thimble::kernels {
namespace {

typedef double ProductLanes __attribute__((vector_size(32), aligned(8), may_alias));

#if defined(__AVX__) || defined(__aarch64__)
constexpr int64_t kProductRows = 4;
#else
constexpr int64_t kProductRows = 2;  // sixteen registers of two lanes hold no more sums
#endif

// No functions that take or return lanes: how registers of 32 bytes are passed depends on the instruction set.
template <int64_t kA, int64_t kB>
inline void add_products_tile(const ProductsArgs& p, int64_t i0, int64_t j0) noexcept {
  ProductLanes sums[kA][kB];
  for (int64_t i = 0; i < kA; ++i) {
    for (int64_t j = 0; j < kB; ++j) {
      sums[i][j] = *reinterpret_cast<const ProductLanes*>(p.sums + ((i0 + i) * p.sums_stride + j0 + j) * 4);
    }
  }
  const double* const a = p.a + i0 * p.a_stride;
  const double* const b = p.b + j0 * p.b_stride;
  for (int64_t k = 0; k < p.depth; k += 4) {
    ProductLanes y[kB];
    for (int64_t j = 0; j < kB; ++j) y[j] = *reinterpret_cast<const ProductLanes*>(b + j * p.b_stride + k);
    for (int64_t i = 0; i < kA; ++i) {
      const ProductLanes x = *reinterpret_cast<const ProductLanes*>(a + i * p.a_stride + k);
      for (int64_t j = 0; j < kB; ++j) sums[i][j] += x * y[j];
    }
  }
  for (int64_t i = 0; i < kA; ++i) {
    for (int64_t j = 0; j < kB; ++j) {
      *reinterpret_cast<ProductLanes*>(p.sums + ((i0 + i) * p.sums_stride + j0 + j) * 4) = sums[i][j];
    }
  }
}

template <int64_t kA>
inline void add_products_strip(const ProductsArgs& p, int64_t i) noexcept {
  int64_t j = 0;
  for (; j + 2 <= p.n_b; j += 2) add_products_tile<kA, 2>(p, i, j);
  if (j < p.n_b) add_products_tile<kA, 1>(p, i, j);
}

inline void add_products_rows(const ProductsArgs& p) noexcept {
  int64_t i = 0;
  for (; i + kProductRows <= p.n_a; i += kProductRows) add_products_strip<kProductRows>(p, i);
  for (; i < p.n_a; ++i) add_products_strip<1>(p, i);
}

}  // namespace
}  // namespace thimble::kernels
