// Groups of 64 and 128 with one scale and one offset:
//   acc += d * sum(dx * dot(q, x)) + m * sum(dx * sum(x)), the inner sums over the blocks of 32 of a group
// d and m are multiplied once per group: that is what longer groups gain besides their bytes. Written against a
// vocabulary (simd_<isa>.h). Each type says, besides what expand_block.h lists,
//   kElems    of a group     kHighDwords    of fifth bits
//   header()  d, m and fifth bits of each row    steps<kSub>()  hands the 8 steps of block kSub to the sink
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"
#include "kernels/panel_steps.h"

namespace thimble::kernels {
namespace {

struct alignas(64) GroupPanel {
  uint8_t w[64 * 4 * kLanes];
  float d[4 * kLanes];
  float m[4 * kLanes];
};

template <class Type>
struct GroupHeader {
  Floats d;
  Floats m;
  Ints high[Type::kHighDwords > 0 ? Type::kHighDwords : 1];
};

// Per group of the 256 elements of x: the scaled sums of its blocks, added in pairs.
template <class Type>
THIMBLE_INLINE inline void set_group_sums(const ActivationGroup& x, float* of_groups) noexcept {
  alignas(32) float sums[8];
  scale_neighbours(x.sums, 1.0f, sums);
  for (int b = 0; b < 8; ++b) sums[b] = x.d[b] * sums[b];
  for (int g = 0; g < 256 / Type::kElems; ++g) {
    if constexpr (Type::kElems == 64) {
      of_groups[g] = sums[2 * g] + sums[2 * g + 1];
    } else {
      of_groups[g] = (sums[4 * g] + sums[4 * g + 1]) + (sums[4 * g + 2] + sums[4 * g + 3]);
    }
  }
}

THIMBLE_INLINE inline Floats group_term(Floats d, Floats dots, Floats m, float x_sum) noexcept {
  return add_floats(mul_floats(d, dots), mul_floats(m, splat_float(x_sum)));
}

/// What every kernel of groups begins with. Sink: how the steps of a panel are kept for many columns.
template <class T, template <class, int> class Sink>
struct GroupPanels {
  using Type = T;
  using Panel = GroupPanel;
  static constexpr int64_t kElements = Type::kElems;
  static constexpr int kSubs = Type::kElems / 32;

  template <class Reader>
  static void expand(Reader& in, int64_t group, int64_t n_groups, Panel& p) noexcept {
    for (int g = 0; g < static_cast<int>(n_groups); ++g) {
      in.begin_block(256 / kElements * group + g);
      GroupHeader<Type> header;
      Type::header(in, header);
      store_floats(p.d + kLanes * g, header.d);
      store_floats(p.m + kLanes * g, header.m);
      unroll<0, kSubs>([&](auto s) THIMBLE_INLINE {
        Sink<Type, 8> sink(p.w + 4 * kLanes * 8 * (kSubs * g + s.value));
        Type::template steps<s.value>(in, header, sink);
      });
    }
  }

  /// acc + the product of the groups of 256 elements of a panel with one column.
  template <class Reader>
  THIMBLE_INLINE static inline Floats multiply_one(Reader& in, int64_t group, int64_t n_groups,
                                                   const ActivationGroup& x, Floats acc) noexcept {
    float x_sums[256 / Type::kElems];
    set_group_sums<Type>(x, x_sums);
    for (int g = 0; g < static_cast<int>(n_groups); ++g) {
      in.begin_block(256 / Type::kElems * group + g);
      GroupHeader<Type> header;
      Type::header(in, header);
      Floats dots = splat_float(0.0f);
      unroll<0, kSubs>([&](auto s) THIMBLE_INLINE {
        const int b = kSubs * g + s.value;
        BlockDots<Type> sink;
        sink.q = x.q + 32 * b;
        sink.sums = splat(0);
        Type::template steps<s.value>(in, header, sink);
        const Floats scaled = mul_floats(splat_float(x.d[b]), to_floats(sink.sums));
        dots = s.value == 0 ? scaled : add_floats(dots, scaled);
      });
      acc = add_floats(acc, group_term(header.d, dots, header.m, x_sums[g]));
    }
    return acc;
  }
};

}  // namespace
}  // namespace thimble::kernels
