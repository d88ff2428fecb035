// The product of super-block weights with many columns in NEON; everything else is panel_matmul.h. Panels of a tile
// share the loads of activations, offsets are taken off the weights when a panel is expanded, and sums of activations
// multiply mins by lane. Written for the vocabularies of simd_neon.h, simd_neon_dotprod.h and simd_neon_i8mm.h, whose
// dot_block it takes. Results are bit-equal to the scalar kernel's: integers are exact, float operations have its
// order.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/panel_matmul.h"
#include "kernels/panel_super.h"
#include "kernels/simd_neon_tile.h"

namespace thimble::kernels {
namespace {

struct alignas(64) NeonSuperPanel {
  uint8_t w[64 * 4 * kLanes];
  int32_t scale[16 * kLanes];
  int16_t min[16 * kLanes];
  float d[kLanes];
  float dmin[kLanes];
};

// Sum over sub-blocks of min * sum of x.
template <class Type>
THIMBLE_INLINE inline int32x4_t dot_mins(const NeonSuperPanel& p, const ActivationGroup& x) noexcept {
  int16x8_t sums[2] = {vld1q_s16(x.sums), vld1q_s16(x.sums + 8)};
  if constexpr (Type::kSubs == 8) sums[0] = vpaddq_s16(sums[0], sums[1]);
  int32x4_t total = vdupq_n_s32(0);
  unroll<0, Type::kSubs>([&](auto s) THIMBLE_INLINE {
    total = vmlal_laneq_s16(total, vld1_s16(p.min + kLanes * s.value), sums[s.value / 8], s.value % 8);
  });
  return total;
}

template <class Type, int kPanels, int kCols>
inline void multiply_tile_super(const NeonSuperPanel* p, const ActivationGroup* const* x, float* acc) noexcept {
  constexpr int kSteps = 64 / Type::kSubs;
  const int8_t* q[kCols];
  int32x4_t sums[kPanels * kCols];
#pragma GCC unroll 4
  for (int c = 0; c < kCols; ++c) q[c] = x[c]->q;
#pragma GCC unroll 8
  for (int i = 0; i < kPanels * kCols; ++i) sums[i] = vdupq_n_s32(0);
    // Not unrolled: the compiler would load for several sub-blocks at once, which does not fit the registers.
#pragma GCC unroll 1
  for (int s = 0; s < Type::kSubs; ++s) {
    int32x4_t dots[kPanels * kCols];
    dot_block<Type, kSteps, kPanels, kCols>(p->w + 4 * kLanes * kSteps * s, sizeof *p, q, 4 * kSteps * s, dots);
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      const int32x4_t scale = vld1q_s32(p[i].scale + kLanes * s);
#pragma GCC unroll 4
      for (int c = 0; c < kCols; ++c) sums[i * kCols + c] = vmlaq_s32(sums[i * kCols + c], dots[i * kCols + c], scale);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kPanels * kCols; ++i) {
    const NeonSuperPanel& panel = p[i / kCols];
    const ActivationGroup& column = *x[i % kCols];
    Floats term = mul_floats(load_floats(panel.d), vcvtq_f32_s32(sums[i]));
    if constexpr (Type::kHasMin) {
      term = sub_floats(term, mul_floats(load_floats(panel.dmin), vcvtq_f32_s32(dot_mins<Type>(panel, column))));
    }
    float* at = acc + kPassResults * (i / kCols) + kLanes * (i % kCols);
    store_floats(at, add_floats(load_floats(at), vmulq_n_f32(term, column.d[0])));
  }
}

template <class T>
struct TileSuperKernel : SuperPanels<T> {
  using Type = T;
  using Panel = NeonSuperPanel;

  template <class Reader>
  static void expand(Reader& in, int64_t group, int64_t, Panel& p) noexcept {
    SuperScales<Type> s;
    in.begin_block(group);
    Type::scales(in, s);
    store_floats(p.d, s.d);
    if constexpr (Type::kHasMin) store_floats(p.dmin, s.dmin);
    unroll<0, Type::kSubs>([&](auto i) THIMBLE_INLINE {
      store_ints(p.scale + kLanes * i.value, s.scale[i.value]);
      if constexpr (Type::kHasMin) vst1_s16(p.min + kLanes * i.value, vmovn_s32(as_signed(s.min[i.value])));
    });
    PlacedSteps<Type, 64> sink(p.w);
    Type::steps(in, sink);
  }

  template <int kPanels, int kCols>
  static void multiply(const Panel* p, int64_t, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_tile_super<Type, kPanels, kCols>(p, x, acc);
  }
};

}  // namespace
}  // namespace thimble::kernels
