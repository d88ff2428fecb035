// The product of super-block weights (panel_super.h) with many columns, written against a vocabulary with dot_tile
// (simd_avx2.h, simd_avx512_vnni.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/panel_matmul.h"
#include "kernels/panel_super.h"

namespace thimble::kernels {
namespace {

struct alignas(64) SuperPanel {
  uint8_t w[64 * 4 * kLanes];
  int32_t scale[16 * kLanes];  // pack_scale form, per sub-block
  int32_t pair[8 * kLanes];    // 16-bit factors of the sums of x, two sub-blocks each: mins, or scales (byte_offset)
  float d[kLanes];
  float dmin[kLanes];
};

// Panel: SuperPanel, or one that begins with it.
template <class Type, int kPanels, int kCols, class Panel>
inline void multiply_super(const Panel* p, const ActivationGroup* const* x, float* acc) noexcept {
  constexpr int kSteps = 64 / Type::kSubs;
  Ints sums[kPanels * kCols];
  const int8_t* q[kCols];
#pragma GCC unroll 12
  for (int i = 0; i < kPanels * kCols; ++i) sums[i] = splat(0);
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) q[c] = x[c]->q;
#pragma GCC unroll 2
  for (int s = 0; s < Type::kSubs; ++s) {
    dot_tile<Type, kSteps, kPanels, kCols, true>(p->w + 4 * kLanes * kSteps * s, p->scale + kLanes * s, sizeof(Panel),
                                                 q, 4 * kSteps * s, sums);
  }
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    const SubSums<Type> x_sums(*x[c]);
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      Ints corrections = splat(0);
#pragma GCC unroll 8
      for (int j = 0; j < kSumPairs<Type>; ++j) {
        corrections = dot_pairs(corrections, load_ints(p[i].pair + kLanes * j), x_sums.pair(j));
      }
      float* at = acc + kPassResults * i + kLanes * c;
      const Floats dmin = Type::kHasMin ? load_floats(p[i].dmin) : splat_float(0.0f);
      const Floats term = super_term<Type>(sums[i * kCols + c], corrections, load_floats(p[i].d), dmin, x[c]->d[0]);
      store_floats(at, add_floats(load_floats(at), term));
    }
  }
}

template <class T>
struct SuperKernel : SuperPanels<T> {
  using Type = T;
  using Panel = SuperPanel;

  template <class Reader>
  static void expand(Reader& in, int64_t group, int64_t, Panel& p) noexcept {
    SuperScales<Type> s;
    in.begin_block(group);
    Type::scales(in, s);
    store_floats(p.d, s.d);
    if constexpr (Type::kHasMin) store_floats(p.dmin, s.dmin);
    unroll<0, Type::kSubs>(
        [&](auto i) THIMBLE_INLINE { store_ints(p.scale + kLanes * i.value, pack_scale(s.scale[i.value])); });
    const Ints* factors = Type::kHasMin ? s.min : s.scale;
    unroll<0, kSumPairs<Type>>([&](auto j) THIMBLE_INLINE {
      store_ints(p.pair + kLanes * j.value, pack_pair(factors[2 * j.value], factors[2 * j.value + 1]));
    });
    StoredSteps<Type, 64> sink(p.w);
    Type::steps(in, sink);
  }

  template <int kPanels, int kCols>
  static void multiply(const Panel* p, int64_t, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_super<Type, kPanels, kCols>(p, x, acc);
  }
};

}  // namespace
}  // namespace thimble::kernels
