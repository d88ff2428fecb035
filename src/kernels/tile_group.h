// The product of group weights (panel_group.h) with many columns, written against a vocabulary with dot_tile
// (simd_avx2.h, simd_avx512_vnni.h). d and m are multiplied once per group: that is what longer groups gain besides
// their bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/panel_group.h"
#include "kernels/panel_matmul.h"

namespace thimble::kernels {
namespace {

template <class Type, int kPanels, int kCols>
inline void multiply_group(const GroupPanel* p, int64_t n_groups, const ActivationGroup* const* x,
                           float* acc) noexcept {
  constexpr int kSubs = Type::kElems / 32;
  const int8_t* q[kCols];
  float x_sums[kCols][256 / Type::kElems];
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    q[c] = x[c]->q;
    set_group_sums<Type>(*x[c], x_sums[c]);
  }
  for (int g = 0; g < static_cast<int>(n_groups); ++g) {
    Floats dots[kPanels * kCols];
#pragma GCC unroll 4
    for (int s = 0; s < kSubs; ++s) {
      const int b = kSubs * g + s;
      Ints sums[kPanels * kCols];
#pragma GCC unroll 12
      for (int i = 0; i < kPanels * kCols; ++i) sums[i] = splat(0);
      dot_tile<Type, 8, kPanels, kCols, false>(p->w + 4 * kLanes * 8 * b, nullptr, sizeof(GroupPanel), q, 32 * b, sums);
#pragma GCC unroll 8
      for (int c = 0; c < kCols; ++c) {
        const Floats dx = splat_float(x[c]->d[b]);
#pragma GCC unroll 2
        for (int i = 0; i < kPanels; ++i) {
          Floats& dot = dots[i * kCols + c];
          const Floats scaled = mul_floats(dx, to_floats(sums[i * kCols + c]));
          dot = s == 0 ? scaled : add_floats(dot, scaled);
        }
      }
    }
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      const Floats d = load_floats(p[i].d + kLanes * g);
      const Floats m = load_floats(p[i].m + kLanes * g);
#pragma GCC unroll 8
      for (int c = 0; c < kCols; ++c) {
        float* at = acc + kPassResults * i + kLanes * c;
        const Floats term = group_term(d, dots[i * kCols + c], m, x_sums[c][g]);
        store_floats(at, add_floats(load_floats(at), term));
      }
    }
  }
}

template <class T>
struct GroupKernel : GroupPanels<T, StoredSteps> {
  using Type = T;

  template <int kPanels, int kCols>
  static void multiply(const GroupPanel* p, int64_t n_groups, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_group<Type, kPanels, kCols>(p, n_groups, x, acc);
  }
};

}  // namespace
}  // namespace thimble::kernels
