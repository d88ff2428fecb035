// What becomes of the steps that a type hands out (steps() of expand_super.h, expand_block.h and expand_group.h): the
// sinks. Written against a vocabulary (simd_<isa>.h, included before this header).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/unroll.h"

namespace thimble::kernels {
namespace {

// What has to be subtracted from every stored byte to get the weight.
template <class Type>
constexpr int byte_offset() noexcept {
  return Type::kSigned ? (kUnsignedWeightsOnly ? 128 : 0) : Type::kOffset;
}

/// Many columns: stores the kSteps steps of (a part of) a panel as they come.
template <class Type, int kSteps>
struct StoredSteps {
  uint8_t* w;
  explicit StoredSteps(uint8_t* to) noexcept : w(to) {}
  template <int kStep>
  THIMBLE_INLINE inline void step(Ints bytes) const noexcept {
    store_ints(w + 4 * kLanes * kStep, bytes);
  }
};

/// One column: dot products of the sub-blocks of a super-block, scaled and added up as soon as they are complete.
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

/// One column: the dot product of a block.
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

}  // namespace
}  // namespace thimble::kernels
