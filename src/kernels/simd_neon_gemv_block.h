// How simd_neon_gemv.h multiplies the types with blocks of 32. Each type says
//   kBytes   of a block of a panel     kOffset  subtracted from a stored quant     kHasMin  values are d * q + m
//   multiply()  start + dot product of a block of each row with x; sets d (and m)
// Offsets are those of the GGUF blocks in tensor/blocks.h, times 4 rows, with the odd halfword last.
#pragma once

#include "kernels/simd_neon_gemv.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

struct GemvBlock {
  static constexpr int kSubs = 0;
};

// 16 bytes of nibbles of each row: elements 0..15 are the low ones. change<t>() turns step t into weights.
template <class Change>
THIMBLE_INLINE inline int32x4_t dot_nibbles(int32x4_t acc, const uint8_t* w, const int8x16_t* x,
                                            const Change& change) noexcept {
  Bytes v[4];
  load_four(w, v);
  unroll<0, 4>([&](auto t) THIMBLE_INLINE {
    acc = dot_step<t.value>(acc, change(t, vandq_u8(v[t.value], bytes(15))), x[0]);
    acc = dot_step<t.value>(acc, change(Index<t.value + 4>{}, vshrq_n_u8(v[t.value], 4)), x[1]);
  });
  return acc;
}
THIMBLE_INLINE inline int32x4_t dot_nibbles(int32x4_t acc, const uint8_t* w, const int8x16_t* x) noexcept {
  return dot_nibbles(acc, w, x, [](auto, Bytes v) THIMBLE_INLINE { return v; });
}

// The same with fifth bits: bit i of the dword of `bits` belongs to element i.
THIMBLE_INLINE inline int32x4_t dot_nibbles_and_bits(int32x4_t acc, const uint8_t* w, const uint8_t* bits,
                                                     const int8x16_t* x) noexcept {
  const Bytes fifth = vld1q_u8(bits);
  return dot_nibbles(acc, w, x, [&](auto t, Bytes v) THIMBLE_INLINE {
    // Byte t / 2 of every row four times, and of each the bit that is its element's.
    constexpr uint8_t b = t.value / 2;
    const Bytes eight = vqtbl1q_u8(fifth, Bytes{b, b, b, b, b + 4, b + 4, b + 4, b + 4, b + 8, b + 8, b + 8, b + 8,
                                                b + 12, b + 12, b + 12, b + 12});
    const Bytes mask = vreinterpretq_u8_u32(vdupq_n_u32(t.value % 2 == 0 ? 0x08040201u : 0x80402010u));
    // A set bit gives 255, which is -1.
    return vmlsq_u8(v, vtstq_u8(eight, mask), bytes(16));
  });
}

struct GemvQ8_0 : GemvBlock {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ8_0);
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = false;
  static int32x4_t multiply(const uint8_t* w, const int8x16_t* x, int32x4_t start, Floats& d, Floats&) noexcept {
    d = load_halves(w + 128);
    unroll<0, 2>([&](auto half) THIMBLE_INLINE {
      Bytes v[4];
      load_four(w + 64 * half.value, v);
      unroll<0, 4>([&](auto t) THIMBLE_INLINE { start = dot_step<t.value>(start, v[t.value], x[half.value]); });
    });
    return start;
  }
};

struct GemvQ4_0 : GemvBlock {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ4_0);
  static constexpr int kOffset = 8;
  static constexpr bool kHasMin = false;
  static int32x4_t multiply(const uint8_t* w, const int8x16_t* x, int32x4_t start, Floats& d, Floats&) noexcept {
    d = load_halves(w + 64);
    return dot_nibbles(start, w, x);
  }
};

struct GemvQ4_1 : GemvBlock {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ4_1);
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true;
  static int32x4_t multiply(const uint8_t* w, const int8x16_t* x, int32x4_t start, Floats& d, Floats& m) noexcept {
    const Bytes both = vld1q_u8(w);
    d = halves<0>(both);
    m = halves<16>(both);
    return dot_nibbles(start, w + 16, x);
  }
};

struct GemvQ5_0 : GemvBlock {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ5_0);
  static constexpr int kOffset = 16;
  static constexpr bool kHasMin = false;
  static int32x4_t multiply(const uint8_t* w, const int8x16_t* x, int32x4_t start, Floats& d, Floats&) noexcept {
    d = load_halves(w + 80);
    return dot_nibbles_and_bits(start, w + 16, w, x);
  }
};

struct GemvQ5_1 : GemvBlock {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ5_1);
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true;
  static int32x4_t multiply(const uint8_t* w, const int8x16_t* x, int32x4_t start, Floats& d, Floats& m) noexcept {
    const Bytes both = vld1q_u8(w);
    d = halves<0>(both);
    m = halves<16>(both);
    return dot_nibbles_and_bits(start, w + 32, w + 16, x);
  }
};

struct GemvIQ4_NL : GemvBlock {
  static constexpr size_t kBytes = kLanes * sizeof(BlockIQ4_NL);
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = false;
  static int32x4_t multiply(const uint8_t* w, const int8x16_t* x, int32x4_t start, Floats& d, Floats&) noexcept {
    d = load_halves(w + 64);
    const Bytes levels = iq4_table();
    return dot_nibbles(start, w, x, [&](auto, Bytes v) THIMBLE_INLINE { return vqtbl1q_u8(levels, v); });
  }
};

}  // namespace
}  // namespace thimble::kernels
