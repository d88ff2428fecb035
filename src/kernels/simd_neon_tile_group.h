// The product of group weights (panel_group.h) with many columns in NEON. Panels of a tile share the loads of
// activations. Written for the vocabularies of simd_neon.h, simd_neon_dotprod.h and simd_neon_i8mm.h, whose dot_block
// it takes. Results are bit-equal to the scalar kernel's: integers are exact, float operations have its order.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/panel_group.h"
#include "kernels/panel_matmul.h"
#include "kernels/simd_neon_tile.h"

namespace thimble::kernels {
namespace {

// Block `block` of 32: the dot products of all panels and columns times the scales of the activations.
template <class Type, int kPanels, int kCols>
THIMBLE_INLINE inline void scaled_dots(const GroupPanel* p, int block, const ActivationGroup* const* x,
                                       const int8_t* const* q, Floats* scaled) noexcept {
  int32x4_t dots[kPanels * kCols];
  dot_block<Type, 8, kPanels, kCols>(p->w + 4 * kLanes * 8 * block, sizeof *p, q, 32 * block, dots);
#pragma GCC unroll 8
  for (int i = 0; i < kPanels * kCols; ++i) scaled[i] = vmulq_n_f32(vcvtq_f32_s32(dots[i]), x[i % kCols]->d[block]);
}

template <class Type, int kPanels, int kCols>
inline void multiply_tile_group(const GroupPanel* p, int64_t n_groups, const ActivationGroup* const* x,
                                float* acc) noexcept {
  constexpr int kSubs = Type::kElems / 32;
  const int8_t* q[kCols];
  float x_sums[kCols][256 / Type::kElems];
#pragma GCC unroll 4
  for (int c = 0; c < kCols; ++c) {
    q[c] = x[c]->q;
    set_group_sums<Type>(*x[c], x_sums[c]);
  }
  // Not unrolled: the compiler would load for several blocks at once, which does not fit the registers.
#pragma GCC unroll 1
  for (int g = 0; g < static_cast<int>(n_groups); ++g) {
    Floats totals[kPanels * kCols];
    scaled_dots<Type, kPanels, kCols>(p, kSubs * g, x, q, totals);
#pragma GCC unroll 1
    for (int s = 1; s < kSubs; ++s) {
      Floats scaled[kPanels * kCols];
      scaled_dots<Type, kPanels, kCols>(p, kSubs * g + s, x, q, scaled);
#pragma GCC unroll 8
      for (int i = 0; i < kPanels * kCols; ++i) totals[i] = add_floats(totals[i], scaled[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kPanels * kCols; ++i) {
      const GroupPanel& panel = p[i / kCols];
      const Floats d = load_floats(panel.d + kLanes * g), m = load_floats(panel.m + kLanes * g);
      float* at = acc + kPassResults * (i / kCols) + kLanes * (i % kCols);
      store_floats(at, add_floats(load_floats(at), group_term(d, totals[i], m, x_sums[i % kCols][g])));
    }
  }
}

template <class T>
struct TileGroupKernel : GroupPanels<T, PlacedSteps> {
  using Type = T;

  template <int kPanels, int kCols>
  static void multiply(const GroupPanel* p, int64_t n_groups, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_tile_group<Type, kPanels, kCols>(p, n_groups, x, acc);
  }
};

}  // namespace
}  // namespace thimble::kernels
