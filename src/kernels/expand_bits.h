// Taking quants apart four at a time, written against the vocabulary of simd_<isa>.h; shared by block and super-block
// types.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/unroll.h"

namespace thimble::kernels {
namespace {

THIMBLE_INLINE inline Ints low_nibbles(Ints v) noexcept {
  return bit_and(v, splat(0x0F0F0F0Fu));
}
THIMBLE_INLINE inline Ints high_nibbles(Ints v) noexcept {
  return bit_and(shr<4>(v), splat(0x0F0F0F0Fu));
}

// v shifted so that its bit kFrom becomes bit kTo.
template <int kFrom, int kTo>
THIMBLE_INLINE inline Ints move_bits(Ints v) noexcept {
  if constexpr (kFrom >= kTo) {
    return shr<kFrom - kTo>(v);
  } else {
    return shl<kTo - kFrom>(v);
  }
}

// Bytes of signed weights as dot products read them: where those are unsigned only, 128 more.
THIMBLE_INLINE inline Ints stored_form(Ints v) noexcept {
  return kUnsignedWeightsOnly ? bit_xor(v, splat(0x80808080u)) : v;
}

// Values of kIq4Values in stored form; local so that no symbol with external linkage comes from a kernel file.
constexpr int kIq4Bias = kUnsignedWeightsOnly ? 128 : 0;
static const uint8_t kIq4Stored[16] = {
    uint8_t(kIq4Bias - 127), uint8_t(kIq4Bias - 104), uint8_t(kIq4Bias - 83), uint8_t(kIq4Bias - 65),
    uint8_t(kIq4Bias - 49),  uint8_t(kIq4Bias - 35),  uint8_t(kIq4Bias - 22), uint8_t(kIq4Bias - 10),
    uint8_t(kIq4Bias + 1),   uint8_t(kIq4Bias + 13),  uint8_t(kIq4Bias + 25), uint8_t(kIq4Bias + 38),
    uint8_t(kIq4Bias + 53),  uint8_t(kIq4Bias + 69),  uint8_t(kIq4Bias + 89), uint8_t(kIq4Bias + 113)};
THIMBLE_INLINE inline Ints iq4_levels(Ints nibbles) noexcept {
  return lookup(reinterpret_cast<const int8_t*>(kIq4Stored), nibbles);
}

// The four unsigned or signed bytes of each lane as integers.
THIMBLE_INLINE inline void unpack_bytes(Ints v, Ints* out) noexcept {
  unroll<0, 4>([&](auto j) THIMBLE_INLINE { out[j.value] = bit_and(shr<8 * j.value>(v), splat(255)); });
}
THIMBLE_INLINE inline void unpack_signed_bytes(Ints v, Ints* out) noexcept {
  unroll<0, 4>([&](auto j) THIMBLE_INLINE { out[j.value] = sar<24>(shl<24 - 8 * j.value>(v)); });
}

}  // namespace
}  // namespace thimble::kernels
