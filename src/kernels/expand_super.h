// How panels of the types with super-blocks of 256 are unpacked, written against the vocabulary of simd_<isa>.h. Each
// type says
//   kBytes    of a super-block    kMaxByte  largest unsigned quant     kSigned  quants are signed bytes
//   kOffset   subtracted from an unsigned quant     kHasMin  values are d * scale * q - dmin * min
//   kSubs     sub-blocks with a scale of their own: 8 or 16
//   expand()  writes w, d (and dmin) of the panel, and scales (and mins) as one integer per row
// Layouts are those of tensor/blocks.h. A chunk is 16 bytes of each row: four dwords, one register each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/panel_matmul.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

// Values of kIq4Values, local so that no symbol with external linkage comes from a kernel file.
static const int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

inline Ints low_nibbles(Ints v) noexcept {
  return bit_and(v, splat(0x0F0F0F0Fu));
}
inline Ints high_nibbles(Ints v) noexcept {
  return bit_and(shr(v, 4), splat(0x0F0F0F0Fu));
}
inline Ints two_bits(Ints v, int at) noexcept {
  return bit_and(shr(v, at), splat(0x03030303u));
}

// The four unsigned or signed bytes of each lane as integers.
inline void unpack_bytes(Ints v, Ints* out) noexcept {
  for (int j = 0; j < 4; ++j) out[j] = bit_and(shr(v, 8 * j), splat(255));
}
inline void unpack_signed_bytes(Ints v, Ints* out) noexcept {
  for (int j = 0; j < 4; ++j) out[j] = sar(shl(v, 24 - 8 * j), 24);
}

// The 16 bytes that Q4_K and Q5_K start with: d, dmin and twelve bytes of 6-bit scales and mins (unpack_scale_min in
// tensor/blocks.h, four at a time).
inline void expand_scale_min_header(PanelRows& rows, size_t at, SuperPanel& p, Ints* scales, Ints* mins) noexcept {
  Ints header[4];
  load_chunk(rows, at, header);
  store_floats(p.d, half_to_floats(header[0]));
  store_floats(p.dmin, half_to_floats(shr(header[0], 16)));
  const Ints six = splat(0x3F3F3F3Fu);
  const Ints top = splat(0x30303030u);
  unpack_bytes(bit_and(header[1], six), scales);
  unpack_bytes(bit_and(header[2], six), mins);
  unpack_bytes(bit_or(low_nibbles(header[3]), bit_and(shr(header[1], 2), top)), scales + 4);
  unpack_bytes(bit_or(high_nibbles(header[3]), bit_and(shr(header[2], 2), top)), mins + 4);
}

struct PanelQ4K {
  static constexpr size_t kBytes = sizeof(BlockQ4K);
  static constexpr int kMaxByte = 15, kOffset = 0, kSubs = 8;
  static constexpr bool kSigned = false, kHasMin = true;
  static void expand(PanelRows& rows, size_t at, SuperPanel& p, Ints* scales, Ints* mins) noexcept {
    expand_scale_min_header(rows, at, p, scales, mins);
    for (int c = 0; c < 8; ++c) {
      Ints chunk[4];
      load_chunk(rows, at + 16 + 16 * static_cast<size_t>(c), chunk);
      for (int t = 0; t < 4; ++t) {
        const int step = 16 * (c / 2) + 4 * (c % 2) + t;
        put_step<PanelQ4K>(p.w, step, low_nibbles(chunk[t]));
        put_step<PanelQ4K>(p.w, step + 8, high_nibbles(chunk[t]));
      }
    }
  }
};

struct PanelQ5K {
  static constexpr size_t kBytes = sizeof(BlockQ5K);
  static constexpr int kMaxByte = 31, kOffset = 0, kSubs = 8;
  static constexpr bool kSigned = false, kHasMin = true;
  static void expand(PanelRows& rows, size_t at, SuperPanel& p, Ints* scales, Ints* mins) noexcept {
    expand_scale_min_header(rows, at, p, scales, mins);
    Ints high[8];
    load_chunk(rows, at + 16, high);
    load_chunk(rows, at + 32, high + 4);
    const Ints bit = splat(0x01010101u);
    for (int c = 0; c < 8; ++c) {
      Ints chunk[4];
      load_chunk(rows, at + 48 + 16 * static_cast<size_t>(c), chunk);
      for (int t = 0; t < 4; ++t) {
        const int step = 16 * (c / 2) + 4 * (c % 2) + t;
        const Ints bits = shr(high[4 * (c % 2) + t], 2 * (c / 2));
        put_step<PanelQ5K>(p.w, step, bit_or(low_nibbles(chunk[t]), shl(bit_and(bits, bit), 4)));
        put_step<PanelQ5K>(p.w, step + 8, bit_or(high_nibbles(chunk[t]), shl(bit_and(shr(bits, 1), bit), 4)));
      }
    }
  }
};

struct PanelQ6K {
  static constexpr size_t kBytes = sizeof(BlockQ6K);
  static constexpr int kMaxByte = 63, kOffset = 32, kSubs = 16;
  static constexpr bool kSigned = false, kHasMin = false;
  static void expand(PanelRows& rows, size_t at, SuperPanel& p, Ints* scales, Ints*) noexcept {
    Ints packed[4];
    load_chunk(rows, at + 192, packed);
    for (int t = 0; t < 4; ++t) unpack_signed_bytes(packed[t], scales + 4 * t);
    store_floats(p.d, half_to_floats(load_fields<uint16_t>(rows, at + 208)));
    for (int c = 0; c < 4; ++c) {  // 128 elements are 4 chunks of ql and 2 of qh: chunk c of 16 columns in both halves
      const size_t half = static_cast<size_t>(c / 2);
      const size_t part = static_cast<size_t>(c % 2);
      Ints low_a[4], low_b[4], high[4];
      load_chunk(rows, at + 64 * half + 16 * part, low_a);
      load_chunk(rows, at + 64 * half + 32 + 16 * part, low_b);
      load_chunk(rows, at + 128 + 32 * half + 16 * part, high);
      for (int t = 0; t < 4; ++t) {
        const int step = 32 * (c / 2) + 4 * (c % 2) + t;
        put_step<PanelQ6K>(p.w, step, bit_or(low_nibbles(low_a[t]), shl(two_bits(high[t], 0), 4)));
        put_step<PanelQ6K>(p.w, step + 8, bit_or(low_nibbles(low_b[t]), shl(two_bits(high[t], 2), 4)));
        put_step<PanelQ6K>(p.w, step + 16, bit_or(high_nibbles(low_a[t]), shl(two_bits(high[t], 4), 4)));
        put_step<PanelQ6K>(p.w, step + 24, bit_or(high_nibbles(low_b[t]), shl(two_bits(high[t], 6), 4)));
      }
    }
  }
};

struct PanelQ2K {
  static constexpr size_t kBytes = sizeof(BlockQ2K);
  static constexpr int kMaxByte = 3, kOffset = 0, kSubs = 16;
  static constexpr bool kSigned = false, kHasMin = true;
  static void expand(PanelRows& rows, size_t at, SuperPanel& p, Ints* scales, Ints* mins) noexcept {
    Ints packed[4];
    load_chunk(rows, at, packed);
    for (int t = 0; t < 4; ++t) {
      unpack_bytes(low_nibbles(packed[t]), scales + 4 * t);
      unpack_bytes(high_nibbles(packed[t]), mins + 4 * t);
    }
    const Ints halves = load_fields<uint32_t>(rows, at + 80);
    store_floats(p.d, half_to_floats(halves));
    store_floats(p.dmin, half_to_floats(shr(halves, 16)));
    for (int c = 0; c < 4; ++c) {
      Ints chunk[4];
      load_chunk(rows, at + 16 + 16 * static_cast<size_t>(c), chunk);
      for (int t = 0; t < 4; ++t) {
        const int step = 32 * (c / 2) + 4 * (c % 2) + t;
        for (int j = 0; j < 4; ++j) put_step<PanelQ2K>(p.w, step + 8 * j, two_bits(chunk[t], 2 * j));
      }
    }
  }
};

struct PanelQ3K {
  static constexpr size_t kBytes = sizeof(BlockQ3K);
  static constexpr int kMaxByte = 7, kOffset = 4, kSubs = 16;
  static constexpr bool kSigned = false, kHasMin = false;

  // unpack_q3_scale in tensor/blocks.h, four at a time.
  static void expand_scales(PanelRows& rows, size_t at, Ints* scales) noexcept {
    const Ints first = load_fields<uint32_t>(rows, at);
    const Ints second = load_fields<uint32_t>(rows, at + 4);
    const Ints top = load_fields<uint32_t>(rows, at + 8);
    unpack_bytes(bit_or(low_nibbles(first), shl(two_bits(top, 0), 4)), scales);
    unpack_bytes(bit_or(low_nibbles(second), shl(two_bits(top, 2), 4)), scales + 4);
    unpack_bytes(bit_or(high_nibbles(first), shl(two_bits(top, 4), 4)), scales + 8);
    unpack_bytes(bit_or(high_nibbles(second), shl(two_bits(top, 6), 4)), scales + 12);
    for (int s = 0; s < 16; ++s) scales[s] = sub_ints(scales[s], splat(32));
  }

  static void expand(PanelRows& rows, size_t at, SuperPanel& p, Ints* scales, Ints*) noexcept {
    expand_scales(rows, at + 96, scales);
    store_floats(p.d, half_to_floats(load_fields<uint16_t>(rows, at + 108)));
    Ints high[8];
    load_chunk(rows, at, high);
    load_chunk(rows, at + 16, high + 4);
    const Ints bit = splat(0x01010101u);
    for (int c = 0; c < 4; ++c) {
      Ints chunk[4];
      load_chunk(rows, at + 32 + 16 * static_cast<size_t>(c), chunk);
      for (int t = 0; t < 4; ++t) {
        const int step = 32 * (c / 2) + 4 * (c % 2) + t;
        const Ints bits = high[4 * (c % 2) + t];
        for (int j = 0; j < 4; ++j) {
          const Ints third = shl(bit_and(shr(bits, 4 * (c / 2) + j), bit), 2);
          put_step<PanelQ3K>(p.w, step + 8 * j, bit_or(two_bits(chunk[t], 2 * j), third));
        }
      }
    }
  }
};

struct PanelIQ4_XS {
  static constexpr size_t kBytes = sizeof(BlockIQ4_XS);
  static constexpr int kMaxByte = 127, kOffset = 0, kSubs = 8;
  static constexpr bool kSigned = true, kHasMin = false;
  static void expand(PanelRows& rows, size_t at, SuperPanel& p, Ints* scales, Ints*) noexcept {
    const Ints d_and_high = load_fields<uint32_t>(rows, at);
    const Ints low = load_fields<uint32_t>(rows, at + 4);
    store_floats(p.d, half_to_floats(d_and_high));
    for (int s = 0; s < 8; ++s) {
      const Ints top = bit_and(shr(d_and_high, 16 + 2 * s), splat(3));
      scales[s] = sub_ints(bit_or(bit_and(shr(low, 4 * s), splat(15)), shl(top, 4)), splat(32));
      Ints chunk[4];
      load_chunk(rows, at + 8 + 16 * static_cast<size_t>(s), chunk);
      for (int t = 0; t < 4; ++t) {
        put_step<PanelIQ4_XS>(p.w, 8 * s + t, lookup(kIq4Levels, low_nibbles(chunk[t])));
        put_step<PanelIQ4_XS>(p.w, 8 * s + 4 + t, lookup(kIq4Levels, high_nibbles(chunk[t])));
      }
    }
  }
};

}  // namespace
}  // namespace thimble::kernels
