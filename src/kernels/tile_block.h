// The product of block weights (panel_block.h) with many columns, written against a vocabulary with dot_tile
// (simd_avx2.h, simd_avx512_vnni.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/panel_block.h"
#include "kernels/panel_matmul.h"

namespace thimble::kernels {
namespace {

template <class Type, int kPanels, int kCols>
inline void multiply_block(const BlockPanel* p, int64_t n_blocks, const ActivationGroup* const* x,
                           float* acc) noexcept {
  const int8_t* q[kCols];
  alignas(32) float x_sums[kCols][8];
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    q[c] = x[c]->q;
    set_block_sums<Type>(*x[c], x_sums[c]);
  }
  for (int b = 0; b < static_cast<int>(n_blocks); ++b) {
    Ints dots[kPanels * kCols];
#pragma GCC unroll 12
    for (int i = 0; i < kPanels * kCols; ++i) dots[i] = splat(0);
    dot_tile<Type, 8, kPanels, kCols, false>(p->w + 4 * kLanes * 8 * b, nullptr, sizeof(BlockPanel), q, 32 * b, dots);
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      const Floats d = load_floats(p[i].d + kLanes * b);
      const Floats m = Type::kHasMin ? load_floats(p[i].m + kLanes * b) : splat_float(0.0f);
#pragma GCC unroll 8
      for (int c = 0; c < kCols; ++c) {
        float* at = acc + kPassResults * i + kLanes * c;
        const Floats term = block_term<Type>(dots[i * kCols + c], x_sums[c][b], d, m, x[c]->d[b]);
        store_floats(at, add_floats(load_floats(at), term));
      }
    }
  }
}

template <class T>
struct BlockKernel : BlockPanels<T, StoredSteps> {
  using Type = T;

  template <int kPanels, int kCols>
  static void multiply(const BlockPanel* p, int64_t n_blocks, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_block<Type, kPanels, kCols>(p, n_blocks, x, acc);
  }
};

}  // namespace
}  // namespace thimble::kernels
