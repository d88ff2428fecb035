// How panels of the types with blocks of 32 are unpacked, written against the vocabulary of simd_<isa>.h. Each type
// says
//   kBytes    of a block          kMaxByte  largest unsigned quant     kSigned  quants are signed bytes
//   kOffset   subtracted from an unsigned quant     kHasMin  values are d * q + m
//   expand()  writes 8 steps of w, and d (and m) of each row, from the block at byte `at` of each row
// Layouts are those of tensor/blocks.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/panel_matmul.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

// Values of kIq4Values, local so that no symbol with external linkage comes from a kernel file.
static const int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

inline void store_half(PanelRows& rows, size_t at, float* out) noexcept {
  store_floats(out, half_to_floats(load_fields<uint16_t>(rows, at)));
}
inline void store_two_halves(PanelRows& rows, size_t at, float* low, float* high) noexcept {
  const Ints both = load_fields<uint32_t>(rows, at);
  store_floats(low, half_to_floats(both));
  store_floats(high, half_to_floats(shr(both, 16)));
}

// Bit i of the low four bits of `v` to bit 0 of byte i.
inline Ints spread_bits(Ints v) noexcept {
  return bit_and(mul_ints(bit_and(v, splat(15)), splat(0x00204081u)), splat(0x01010101u));
}

// 16 bytes of nibbles: elements 0..15 are the low ones, 16..31 the high ones.
template <class Type>
inline void expand_nibbles(PanelRows& rows, size_t at, uint8_t* w) noexcept {
  Ints chunk[4];
  load_chunk(rows, at, chunk);
  for (int t = 0; t < 4; ++t) {
    put_step<Type>(w, t, bit_and(chunk[t], splat(0x0F0F0F0Fu)));
    put_step<Type>(w, t + 4, bit_and(shr(chunk[t], 4), splat(0x0F0F0F0Fu)));
  }
}

// The same with the fifth bits in 32 bits at `high_at`.
template <class Type>
inline void expand_nibbles_and_bits(PanelRows& rows, size_t at, size_t high_at, uint8_t* w) noexcept {
  Ints chunk[4];
  load_chunk(rows, at, chunk);
  const Ints high = load_fields<uint32_t>(rows, high_at);
  for (int t = 0; t < 4; ++t) {
    const Ints first = bit_and(chunk[t], splat(0x0F0F0F0Fu));
    const Ints second = bit_and(shr(chunk[t], 4), splat(0x0F0F0F0Fu));
    put_step<Type>(w, t, bit_or(first, shl(spread_bits(shr(high, 4 * t)), 4)));
    put_step<Type>(w, t + 4, bit_or(second, shl(spread_bits(shr(high, 4 * t + 16)), 4)));
  }
}

struct PanelQ8_0 {
  static constexpr size_t kBytes = sizeof(BlockQ8_0);
  static constexpr int kMaxByte = 128, kOffset = 0;
  static constexpr bool kSigned = true, kHasMin = false;
  static void expand(PanelRows& rows, size_t at, uint8_t* w, float* d, float*) noexcept {
    Ints chunk[8];
    load_chunk(rows, at + 2, chunk);
    load_chunk(rows, at + 18, chunk + 4);
    for (int t = 0; t < 8; ++t) put_step<PanelQ8_0>(w, t, chunk[t]);
    store_half(rows, at, d);
  }
};

struct PanelQ4_0 {
  static constexpr size_t kBytes = sizeof(BlockQ4_0);
  static constexpr int kMaxByte = 15, kOffset = 8;
  static constexpr bool kSigned = false, kHasMin = false;
  static void expand(PanelRows& rows, size_t at, uint8_t* w, float* d, float*) noexcept {
    expand_nibbles<PanelQ4_0>(rows, at + 2, w);
    store_half(rows, at, d);
  }
};

struct PanelQ4_1 {
  static constexpr size_t kBytes = sizeof(BlockQ4_1);
  static constexpr int kMaxByte = 15, kOffset = 0;
  static constexpr bool kSigned = false, kHasMin = true;
  static void expand(PanelRows& rows, size_t at, uint8_t* w, float* d, float* m) noexcept {
    expand_nibbles<PanelQ4_1>(rows, at + 4, w);
    store_two_halves(rows, at, d, m);
  }
};

struct PanelQ5_0 {
  static constexpr size_t kBytes = sizeof(BlockQ5_0);
  static constexpr int kMaxByte = 31, kOffset = 16;
  static constexpr bool kSigned = false, kHasMin = false;
  static void expand(PanelRows& rows, size_t at, uint8_t* w, float* d, float*) noexcept {
    expand_nibbles_and_bits<PanelQ5_0>(rows, at + 6, at + 2, w);
    store_half(rows, at, d);
  }
};

struct PanelQ5_1 {
  static constexpr size_t kBytes = sizeof(BlockQ5_1);
  static constexpr int kMaxByte = 31, kOffset = 0;
  static constexpr bool kSigned = false, kHasMin = true;
  static void expand(PanelRows& rows, size_t at, uint8_t* w, float* d, float* m) noexcept {
    expand_nibbles_and_bits<PanelQ5_1>(rows, at + 8, at + 4, w);
    store_two_halves(rows, at, d, m);
  }
};

struct PanelIQ4_NL {
  static constexpr size_t kBytes = sizeof(BlockIQ4_NL);
  static constexpr int kMaxByte = 127, kOffset = 0;
  static constexpr bool kSigned = true, kHasMin = false;
  static void expand(PanelRows& rows, size_t at, uint8_t* w, float* d, float*) noexcept {
    Ints chunk[4];
    load_chunk(rows, at + 2, chunk);
    for (int t = 0; t < 4; ++t) {
      put_step<PanelIQ4_NL>(w, t, lookup(kIq4Levels, bit_and(chunk[t], splat(0x0F0F0F0Fu))));
      put_step<PanelIQ4_NL>(w, t + 4, lookup(kIq4Levels, bit_and(shr(chunk[t], 4), splat(0x0F0F0F0Fu))));
    }
    store_half(rows, at, d);
  }
};

}  // namespace
}  // namespace thimble::kernels
