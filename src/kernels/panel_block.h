// Blocks of 32: acc += dx * (d * sum(q x) + m * sum(x)), block after block. Written against a vocabulary
// (simd_<isa>.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"
#include "kernels/panel_steps.h"

namespace thimble::kernels {
namespace {

struct alignas(64) BlockPanel {
  uint8_t w[64 * 4 * kLanes];
  float d[8 * kLanes];
  float m[8 * kLanes];
};

// Per block what corrects or completes its dot product: the sum of x, times byte_offset where there is one. Integers
// below 2^20, so float arithmetic on them and on dot products is exact.
template <class Type>
THIMBLE_INLINE inline void set_block_sums(const ActivationGroup& x, float* of_32) noexcept {
  if constexpr (Type::kHasMin || byte_offset<Type>() != 0) {
    scale_neighbours(x.sums, Type::kHasMin ? 1.0f : static_cast<float>(byte_offset<Type>()), of_32);
  } else {
    for (int b = 0; b < 8; ++b) of_32[b] = 0.0f;
  }
}

template <class Type>
THIMBLE_INLINE inline Floats block_term(Ints dots, float x_sum, Floats d, Floats m, float dx) noexcept {
  Floats term;
  if constexpr (Type::kHasMin) {
    term = add_floats(mul_floats(d, to_floats(dots)), mul_floats(m, splat_float(x_sum)));
  } else if constexpr (byte_offset<Type>() != 0) {
    term = mul_floats(d, sub_floats(to_floats(dots), splat_float(x_sum)));
  } else {
    term = mul_floats(d, to_floats(dots));
  }
  return mul_floats(splat_float(dx), term);
}

/// What every kernel of blocks begins with. Sink: how the steps of a panel are kept for many columns.
template <class T, template <class, int> class Sink>
struct BlockPanels {
  using Type = T;
  using Panel = BlockPanel;
  static constexpr int64_t kElements = 32;

  template <class Reader>
  static void expand(Reader& in, int64_t group, int64_t n_blocks, Panel& p) noexcept {
    for (int b = 0; b < static_cast<int>(n_blocks); ++b) {
      in.begin_block(8 * group + b);
      const auto scales = Type::scales(in);
      store_floats(p.d + kLanes * b, scales.d);
      if constexpr (Type::kHasMin) store_floats(p.m + kLanes * b, scales.m);
      Sink<Type, 8> sink(p.w + 4 * kLanes * 8 * b);
      Type::steps(in, sink);
    }
  }

  /// acc + the product of one group of 256 of a panel with one column.
  template <class Reader>
  THIMBLE_INLINE static inline Floats multiply_one(Reader& in, int64_t group, int64_t n_blocks,
                                                   const ActivationGroup& x, Floats acc) noexcept {
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

}  // namespace
}  // namespace thimble::kernels
