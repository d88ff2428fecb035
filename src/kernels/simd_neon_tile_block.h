// The product of block weights with many columns in NEON; everything else is panel_matmul.h. Panels of a tile share the
// loads of activations, offsets are taken off the weights when a panel is expanded, and results stay in registers over
// all blocks of a group. Written for the vocabularies of simd_neon.h, simd_neon_dotprod.h and simd_neon_i8mm.h, whose
// dot_block it takes. Results are bit-equal to the scalar kernel's: integers are exact, float operations have its
// order.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/panel_block.h"
#include "kernels/panel_matmul.h"
#include "kernels/simd_neon_tile.h"

namespace thimble::kernels {
namespace {

// A whole group of eight blocks: results += dx * (d * dot product + m * sum of x), block after block.
template <class Type, int kPanels, int kCols>
inline void multiply_tile_blocks(const BlockPanel* p, const ActivationGroup* const* x, float* acc) noexcept {
  const int8_t* q[kCols];
  alignas(32) float x_sums[kCols][8];
  Floats results[kPanels * kCols];
#pragma GCC unroll 4
  for (int c = 0; c < kCols; ++c) {
    q[c] = x[c]->q;
    if constexpr (Type::kHasMin) set_block_sums<Type>(*x[c], x_sums[c]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kPanels * kCols; ++i) {
    results[i] = load_floats(acc + kPassResults * (i / kCols) + kLanes * (i % kCols));
  }
  // Not unrolled: the compiler would load for several blocks at once, which does not fit the registers.
#pragma GCC unroll 1
  for (int block = 0; block < 8; ++block) {
    int32x4_t dots[kPanels * kCols];
    dot_block<Type, 8, kPanels, kCols>(p->w + 4 * kLanes * 8 * block, sizeof(BlockPanel), q, 32 * block, dots);
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      const Floats d = load_floats(p[i].d + kLanes * block);
#pragma GCC unroll 4
      for (int c = 0; c < kCols; ++c) {
        Floats term = mul_floats(d, vcvtq_f32_s32(dots[i * kCols + c]));
        if constexpr (Type::kHasMin) {
          term = add_floats(term, vmulq_n_f32(load_floats(p[i].m + kLanes * block), x_sums[c][block]));
        }
        results[i * kCols + c] = add_floats(results[i * kCols + c], vmulq_n_f32(term, x[c]->d[block]));
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kPanels * kCols; ++i) {
    store_floats(acc + kPassResults * (i / kCols) + kLanes * (i % kCols), results[i]);
  }
}

template <class T>
struct TileBlockKernel : BlockPanels<T, PlacedSteps> {
  using Type = T;

  template <class Reader>
  static void expand(Reader& in, int64_t group, int64_t n_blocks, BlockPanel& p) noexcept {
    // Blocks that the last group lacks are zeroes, as its activations are: they add nothing.
    if (n_blocks < 8) std::memset(static_cast<void*>(&p), 0, sizeof p);
    BlockPanels<T, PlacedSteps>::expand(in, group, n_blocks, p);
  }

  template <int kPanels, int kCols>
  static void multiply(const BlockPanel* p, int64_t, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_tile_blocks<Type, kPanels, kCols>(p, x, acc);
  }
};

}  // namespace
}  // namespace thimble::kernels
