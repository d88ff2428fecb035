// Decode: one column. Each step is multiplied as soon as it is unpacked, so that a weight goes from memory through
// registers into a sum; the same arithmetic as panel_matmul.h. Written against a vocabulary (simd_<isa>.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/panel_matmul.h"

namespace thimble::kernels {
namespace {

// ---- super-blocks

/// The sink of steps: dot products of the sub-blocks, scaled and added up as soon as they are complete.
template <class Type>
struct SuperDots {
  static constexpr int kSteps = 64 / Type::kSubs;
  const int8_t* q;
  const int32_t* scale;
  Ints open[Type::kSubs * kOpenSums<Type, kSteps>];  // sums that are not complete; few at a time
  Ints sums;

  template <int kStep>
  THIMBLE_INLINE inline void step(Ints bytes) noexcept {
    constexpr int kSub = kStep / kSteps;
    take_step<Type, kSteps, true, kStep % kSteps>(bytes, q + 4 * kSteps * kSub, scale + kLanes * kSub,
                                                  open + kSub * kOpenSums<Type, kSteps>, sums);
  }
};

template <class Kernel, class Reader>
struct VectorProduct;

template <class Type, class Reader>
struct VectorProduct<SuperKernel<Type>, Reader> {
  THIMBLE_INLINE static inline Floats group(Reader& in, int64_t group, int64_t, const ActivationGroup& x,
                                            Floats acc) noexcept {
    in.begin_block(group);
    SuperScales<Type> s;
    Type::scales(in, s);
    alignas(64) int32_t scale[Type::kSubs * kLanes];
    unroll<0, Type::kSubs>([&](auto i)
                               THIMBLE_INLINE { store_ints(scale + kLanes * i.value, pack_scale(s.scale[i.value])); });
    const SubSums<Type> x_sums(x);
    const Ints* factors = Type::kHasMin ? s.min : s.scale;
    Ints corrections = splat(0);
    unroll<0, kSumPairs<Type>>([&](auto j) THIMBLE_INLINE {
      const Ints pair = pack_pair(factors[2 * j.value], factors[2 * j.value + 1]);
      corrections = dot_pairs(corrections, pair, x_sums.pair(j.value));
    });
    SuperDots<Type> sink;
    sink.q = x.q;
    sink.scale = scale;
    sink.sums = splat(0);
    Type::steps(in, sink);
    return add_floats(acc, super_term<Type>(sink.sums, corrections, s.d, s.dmin, x.d[0]));
  }
};

// ---- blocks of 32

template <class Type>
struct BlockDots {
  const int8_t* q;
  Ints open[kOpenSums<Type, 8>];
  Ints sums;

  template <int kStep>
  THIMBLE_INLINE inline void step(Ints bytes) noexcept {
    take_step<Type, 8, false, kStep>(bytes, q, nullptr, open, sums);
  }
};

template <class Type, class Reader>
struct VectorProduct<BlockKernel<Type>, Reader> {
  THIMBLE_INLINE static inline Floats group(Reader& in, int64_t group, int64_t n_blocks, const ActivationGroup& x,
                                            Floats acc) noexcept {
    alignas(32) float x_sums[8];
    set_block_sums<Type>(x, x_sums);
    for (int64_t b = 0; b < n_blocks; ++b) {
      in.begin_block(8 * group + b);
      const auto scales = Type::scales(in);
      BlockDots<Type> sink;
      sink.q = x.q + 32 * b;
      sink.sums = splat(0);
      Type::steps(in, sink);
      acc = add_floats(acc, block_term<Type>(sink.sums, x_sums[b], scales.d, scales.m, x.d[b]));
    }
    return acc;
  }
};

// ---- all rows

template <class Kernel, class Reader>
inline void multiply_vector(const MatmulArgs& a) noexcept {
  const Groups<Kernel> groups(a);
  const ActivationGroup* x = activations(a, 0);
  for (int64_t row = 0; row < a.n_rows; row += kLanes) {
    Reader in(a, row);
    Floats acc = splat_float(0.0f);
    for (int64_t group = 0; group < groups.count; ++group) {
      in.begin_group(group, groups.count);
      acc = VectorProduct<Kernel, Reader>::group(in, group, groups.blocks_of(group), x[group], acc);
    }
    alignas(64) float result[kLanes];
    store_floats(result, acc);
    store_results(a, row, 0, 1, result);
  }
}

/// The kernel: any layout of the weights, any number of columns.
template <class Kernel>
inline void matmul_panels(const MatmulArgs& a) noexcept {
  using Packed = PackedReader<typename Kernel::Type>;
  using Stock = StockReader<typename Kernel::Type>;
  if constexpr (kLanes == 16) {
    using FarAhead = PackedReader<typename Kernel::Type, Reading::far_ahead>;
    if (a.n_cols == 1 && a.packed && a.prefetch) return multiply_vector<Kernel, FarAhead>(a);
  }
  if (a.n_cols == 1) {
    a.packed ? multiply_vector<Kernel, Packed>(a) : multiply_vector<Kernel, Stock>(a);
  } else {
    a.packed ? multiply_columns<Kernel, Packed>(a) : multiply_columns<Kernel, Stock>(a);
  }
}

}  // namespace
}  // namespace thimble::kernels
