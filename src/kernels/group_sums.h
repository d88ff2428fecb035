// What quantization leaves in a group of activations beside its values. In an anonymous namespace: files compiled for
// one instruction set include it.
#pragma once

#include <cstdint>

#include "kernels/matmul_args.h"

namespace thimble::kernels {
namespace {

/// Sets sums of q, and the bounds in d when `super`.
inline void set_sums(ActivationGroup& group, bool super) noexcept {
  int magnitudes[16];
  for (int s = 0; s < 16; ++s) {
    int sum = 0, magnitude = 0;
    for (int i = 0; i < 16; ++i) {
      const int q = group.q[16 * s + i];
      sum += q;
      magnitude += q < 0 ? -q : q;
    }
    group.sums[s] = static_cast<int16_t>(sum);
    magnitudes[s] = magnitude;
  }
  if (!super) return;
  int of_16 = 0, of_32 = 0;
  for (int s = 0; s < 16; s += 2) {
    const int a = magnitudes[s], b = magnitudes[s + 1];
    const int sum = group.sums[s] + group.sums[s + 1];
    const int one_sign = (a + b + (sum < 0 ? -sum : sum)) / 2;
    of_16 = of_16 > a ? of_16 : a;
    of_16 = of_16 > b ? of_16 : b;
    of_32 = of_32 > one_sign ? of_32 : one_sign;
  }
  group.d[kOneSignOf32] = -static_cast<float>(of_32);
  group.d[kMagnitudeOf16] = -static_cast<float>(of_16);
}

}  // namespace
}  // namespace thimble::kernels
