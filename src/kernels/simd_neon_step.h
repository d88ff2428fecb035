// One step of a dot product with sdot, for the vocabularies of instruction sets that have it (simd_neon_dotprod.h and
// simd_neon_i8mm.h); everything is in an anonymous namespace.
#pragma once

#include "kernels/simd_neon_base.h"

namespace thimble::kernels {
namespace {

/// Sums that a sub-block keeps open while its steps come in (take_step).
template <class Type, int kSteps>
inline constexpr int kOpenSums = 1;

/// Step kStep < kSteps of a sub-block: the last one adds the (scaled) dot product to sums. q: the sub-block's values.
template <class Type, int kSteps, bool kScaled, int kStep>
__attribute__((always_inline)) inline void take_step(Ints bytes, const int8_t* q, const int32_t* scale, Ints* open,
                                                     Ints& sums) noexcept {
  const int8x16_t x = vld1q_s8(q + kStep / 4 * 16);
  const int8x16_t w = vreinterpretq_s8_u32(bytes);
  if constexpr (!kScaled) {
    sums = as_ints(vdotq_laneq_s32(as_signed(sums), w, x, kStep % 4));
  } else {
    if (kStep == 0) open[0] = vdupq_n_u32(0);
    open[0] = as_ints(vdotq_laneq_s32(as_signed(open[0]), w, x, kStep % 4));
    if (kStep + 1 == kSteps)
      sums = as_ints(vmlaq_s32(as_signed(sums), as_signed(open[0]), as_signed(load_ints(scale))));
  }
}

}  // namespace
}  // namespace thimble::kernels
