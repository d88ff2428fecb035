// Super-blocks of 256: acc += dx * (d * sum(scale q x) - dmin * sum(min x)). How a panel is kept for many columns is
// tile_super.h's and simd_neon_tile_super.h's. Written against a vocabulary (simd_<isa>.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"
#include "kernels/panel_steps.h"

namespace thimble::kernels {
namespace {

inline int32_t load_pair(const int16_t* pair) noexcept {
  int32_t both = 0;
  __builtin_memcpy(&both, pair, sizeof both);
  return both;
}

template <class Type>
struct SuperScales {
  Floats d;
  Floats dmin;
  Ints scale[Type::kSubs];
  Ints min[Type::kHasMin ? Type::kSubs : 1];
};

// Sums of x over the sub-blocks of Type.
template <class Type>
struct SubSums {
  alignas(16) int16_t of_32[8];
  const int16_t* sums;

  THIMBLE_INLINE inline explicit SubSums(const ActivationGroup& x) noexcept : sums(x.sums) {
    if constexpr (Type::kSubs == 8) {
      add_neighbours(x.sums, of_32);
      sums = of_32;
    }
  }
  THIMBLE_INLINE inline int32_t pair(int index) const noexcept { return load_pair(sums + 2 * index); }
};

template <class Type>
inline constexpr bool kCorrectSums = Type::kHasMin || byte_offset<Type>() != 0;
template <class Type>
inline constexpr int kSumPairs = kCorrectSums<Type> ? Type::kSubs / 2 : 0;

// From the integer sums of a group to what is added to the result.
template <class Type>
THIMBLE_INLINE inline Floats super_term(Ints sums, Ints corrections, Floats d, Floats dmin, float dx) noexcept {
  Floats term;
  if constexpr (Type::kHasMin) {
    term = sub_floats(mul_floats(d, to_floats(sums)), mul_floats(dmin, to_floats(corrections)));
  } else if constexpr (byte_offset<Type>() != 0) {
    const Ints offset = mul_ints(corrections, splat(static_cast<uint32_t>(byte_offset<Type>())));
    term = mul_floats(d, to_floats(sub_ints(sums, offset)));
  } else {
    term = mul_floats(d, to_floats(sums));
  }
  return mul_floats(splat_float(dx), term);
}

/// What every kernel of super-blocks begins with.
template <class T>
struct SuperPanels {
  using Type = T;
  static constexpr int64_t kElements = 256;

  /// acc + the product of one group of 256 of a panel with one column.
  template <class Reader>
  THIMBLE_INLINE static inline Floats multiply_one(Reader& in, int64_t group, int64_t, const ActivationGroup& x,
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

}  // namespace
}  // namespace thimble::kernels
