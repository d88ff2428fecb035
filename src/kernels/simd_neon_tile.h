// How a panel is expanded for the tiles of simd_neon_tile_block.h, simd_neon_tile_super.h and simd_neon_tile_group.h.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/panel_steps.h"

namespace thimble::kernels {
namespace {

/// The sink of expand: signed bytes, without the offset of the type, in the order of dot_block. kSteps: of a panel.
template <class Type, int kSteps>
struct PlacedSteps {
  uint8_t* w;
  Ints last[kSteps / 4];  // of each four steps the one before an odd one: fours may take turns

  explicit PlacedSteps(uint8_t* to) noexcept : w(to) {}

  template <int kStep>
  THIMBLE_INLINE inline void step(Ints stored) noexcept {
    Ints bytes = stored;
    if constexpr (byte_offset<Type>() != 0) {
      const uint8x16_t offset = vdupq_n_u8(static_cast<uint8_t>(byte_offset<Type>()));
      bytes = vreinterpretq_u32_u8(vsubq_u8(vreinterpretq_u8_u32(stored), offset));
    }
    place_step<kStep>(w, last[kStep / 4], bytes);
  }
};

}  // namespace
}  // namespace thimble::kernels
