// The product of super-block weights with many columns where 16-bit products can be added in pairs (vpdpwssd), written
// against a vocabulary (simd_<isa>.h); everything else is tile_super.h.
//
// Multiplying the dot product of every sub-block by its scale takes the execution units that dot products take. Dot
// products of two neighbouring sub-blocks that fit 16 bits are joined in one register and multiplied by their two
// scales at once, which halves that work. Whether they fit is known from the activations alone: the largest weight
// times the sums of magnitudes that quantization leaves in each group. The few tiles that may not fit take the way of
// tile_super.h. Where weights are stored with an offset, dot products start from what the offset adds, with the other
// sign, instead of being corrected at the end.
// The integers are the same either way, so results stay bit-equal to the scalar kernel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tile_super.h"

namespace thimble::kernels {
namespace {

struct PairedPanel : SuperPanel {
  int32_t scale_pair[8 * kLanes];  // of two sub-blocks each
};

// Largest sum of magnitudes of activations with which every dot product of a sub-block fits 16 bits.
template <class Type>
constexpr int magnitude_limit() noexcept {
  const int below = Type::kOffset;
  const int above = Type::kMaxByte - Type::kOffset;
  return 32767 / (below > above ? below : above);
}

// The weights of a sub-block have one sign or two: with one, positive and negative activations do not add up.
template <class Type>
THIMBLE_INLINE inline bool fits_words(const ActivationGroup& x) noexcept {
  static_assert(!Type::kSigned && (Type::kHasMin || Type::kSubs == 16));
  constexpr int kLimit = magnitude_limit<Type>();
  if constexpr (kLimit >= 127 * 256 / Type::kSubs) return true;
  const float bound = Type::kSubs == 8 ? x.d[kOneSignOf32] : x.d[kMagnitudeOf16];
  return bound < 0.0f && bound >= -static_cast<float>(kLimit);
}

template <class Type, int kCols>
THIMBLE_INLINE inline bool all_fit_words(const ActivationGroup* const* x) noexcept {
  bool fit = true;
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) fit &= fits_words<Type>(*x[c]);
  return fit;
}

// sums += scale * dot product, over two sub-blocks.
template <class Type, int kPanels, int kCols>
THIMBLE_INLINE inline void add_pair(const PairedPanel* p, int pair, const int8_t* const* q, const int32_t (*start)[16],
                                    Ints* sums) noexcept {
  constexpr int kSteps = 64 / Type::kSubs;
  Ints dots[2][kPanels * kCols];
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const int sub = 2 * pair + half;
#pragma GCC unroll 12
    for (int i = 0; i < kPanels * kCols; ++i) {
      dots[half][i] = splat(Type::kHasMin ? 0u : static_cast<uint32_t>(start[i % kCols][sub]));
    }
    dot_tile<Type, kSteps, kPanels, kCols, false>(p->w + 4 * kLanes * kSteps * sub, nullptr, sizeof(PairedPanel), q,
                                                  4 * kSteps * sub, dots[half]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < kPanels; ++i) {
    const Ints scales = load_ints(p[i].scale_pair + kLanes * pair);
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      const int at = i * kCols + c;
      sums[at] = dot_words(sums[at], pack_pair(dots[0][at], dots[1][at]), scales);
    }
  }
}

// multiply_super for activations that fit.
template <class Type, int kPanels, int kCols>
inline void multiply_pairs(const PairedPanel* p, const ActivationGroup* const* x, float* acc) noexcept {
  Ints sums[kPanels * kCols];
  const int8_t* q[kCols];
  alignas(64) int32_t start[kCols][16];
#pragma GCC unroll 12
  for (int i = 0; i < kPanels * kCols; ++i) sums[i] = splat(0);
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    q[c] = x[c]->q;
    if constexpr (!Type::kHasMin) multiply_halfwords(x[c]->sums, -byte_offset<Type>(), start[c]);
  }
#pragma GCC unroll 1
  for (int pair = 0; pair < Type::kSubs / 2; ++pair) add_pair<Type, kPanels, kCols>(p, pair, q, start, sums);
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    const SubSums<Type> x_sums(*x[c]);
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      const Ints dots = sums[i * kCols + c];
      Floats term = mul_floats(load_floats(p[i].d), to_floats(dots));
      if constexpr (Type::kHasMin) {
        Ints mins = splat(0);
#pragma GCC unroll 8
        for (int j = 0; j < kSumPairs<Type>; ++j) {
          mins = dot_pairs(mins, load_ints(p[i].pair + kLanes * j), x_sums.pair(j));
        }
        term = sub_floats(term, mul_floats(load_floats(p[i].dmin), to_floats(mins)));
      }
      float* at = acc + kPassResults * i + kLanes * c;
      store_floats(at, add_floats(load_floats(at), mul_floats(splat_float(x[c]->d[0]), term)));
    }
  }
}

template <class T>
struct PairedKernel : SuperKernel<T> {
  using Type = T;
  using Panel = PairedPanel;

  template <class Reader>
  static void expand(Reader& in, int64_t group, int64_t n_blocks, Panel& p) noexcept {
    SuperKernel<T>::expand(in, group, n_blocks, p);
    for (int j = 0; j < Type::kSubs / 2; ++j) {
      const int32_t* scale = p.scale + kLanes * 2 * j;
      store_ints(p.scale_pair + kLanes * j, pack_pair(load_ints(scale), load_ints(scale + kLanes)));
    }
  }

  template <int kPanels, int kCols>
  static void multiply(const Panel* p, int64_t, const ActivationGroup* const* x, float* acc) noexcept {
    if (all_fit_words<Type, kCols>(x)) {
      multiply_pairs<Type, kPanels, kCols>(p, x, acc);
    } else {
      multiply_super<Type, kPanels, kCols>(p, x, acc);
    }
  }
};

}  // namespace
}  // namespace thimble::kernels
