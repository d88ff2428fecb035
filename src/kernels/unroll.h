// Loops whose index is a compile-time constant, so that arrays indexed by it stay in registers. Plain templates in an
// anonymous namespace: files compiled for one instruction set include them.
#pragma once

namespace thimble::kernels {
namespace {

// Kernels are built out of small functions whose arguments must become constants and registers at every optimization.
#define THIMBLE_INLINE __attribute__((always_inline))

template <int kValue>
struct Index {
  static constexpr int value = kValue;
};

/// body(Index<kBegin>{}), body(Index<kBegin + 1>{}), ... before kEnd.
template <int kBegin, int kEnd, class Body>
THIMBLE_INLINE inline void unroll(const Body& body) noexcept {
  if constexpr (kBegin < kEnd) {
    body(Index<kBegin>{});
    unroll<kBegin + 1, kEnd>(body);
  }
}

}  // namespace
}  // namespace thimble::kernels
