// How panels of the types with super-blocks of 256 are unpacked, written against the vocabulary of simd_<isa>.h. Each
// type says
//   kBytes    of a super-block    kMaxByte  largest unsigned quant     kSigned  quants are signed bytes
//   kOffset   subtracted from an unsigned quant     kHasMin  values are d * scale * q - dmin * min
//   kSubs     sub-blocks with a scale of their own: 8 or 16
//   kPackedInReadOrder  chunks of packed blocks are not in the order of the GGUF block (packed_place)
//   kReadInOrder  scales() and steps() read packed blocks (of 8 or 16 lanes) in rising addresses, but for the odd
//   halfword kFirstDword  bytes before the first whole dword: always 0, the odd halfword comes last scales()  d (and
//   dmin) of each row, and scales (and mins) as one integer per row steps()   hands 64 steps of four elements of each
//   row to the sink, those of a sub-block in rising order, in the
//             form that is stored (stored_form in expand_bits.h)
// `in` is a reader of panel_reader.h at the super-block. Layouts are those of tensor/blocks.h. A chunk is 16 bytes of
// each row: four dwords, one register each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/expand_bits.h"
#include "kernels/panel_super.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

// The 16 bytes that Q4_K and Q5_K start with: d, dmin and twelve bytes of 6-bit scales and mins (unpack_scale_min in
// tensor/blocks.h, four at a time).
template <class Reader, class Scales>
THIMBLE_INLINE inline void scale_min_header(Reader& in, Scales& out) noexcept {
  Ints header[4];
  in.chunk(0, header);
  out.d = half_to_floats(header[0]);
  out.dmin = half_to_floats(shr<16>(header[0]));
  const Ints six = splat(0x3F3F3F3Fu);
  const Ints top = splat(0x30303030u);
  unpack_bytes(bit_and(header[1], six), out.scale);
  unpack_bytes(bit_and(header[2], six), out.min);
  unpack_bytes(bit_or(low_nibbles(header[3]), bit_and(shr<2>(header[1]), top)), out.scale + 4);
  unpack_bytes(bit_or(high_nibbles(header[3]), bit_and(shr<2>(header[2]), top)), out.min + 4);
}

struct PanelQ4K {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockQ4K), kFirstDword = 0;
  static constexpr int kMaxByte = 15, kOffset = 0, kSubs = 8;
  static constexpr bool kSigned = false, kHasMin = true;
  template <class Reader, class Scales>
  THIMBLE_INLINE static inline void scales(Reader& in, Scales& out) noexcept {
    scale_min_header(in, out);
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    unroll<0, 8>([&](auto c) THIMBLE_INLINE {
      Ints chunk[4];
      in.chunk(16 + 16 * c.value, chunk);
      unroll<0, 4>([&](auto t) THIMBLE_INLINE {
        constexpr int kStep = 16 * (c.value / 2) + 4 * (c.value % 2) + t.value;
        sink.template step<kStep>(low_nibbles(chunk[t.value]));
        sink.template step<kStep + 8>(high_nibbles(chunk[t.value]));
      });
    });
  }
};

struct PanelQ5K {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockQ5K), kFirstDword = 0;
  static constexpr int kMaxByte = 31, kOffset = 0, kSubs = 8;
  static constexpr bool kSigned = false, kHasMin = true;
  template <class Reader, class Scales>
  THIMBLE_INLINE static inline void scales(Reader& in, Scales& out) noexcept {
    scale_min_header(in, out);
  }
  // Bit 2 p (and 2 p + 1) of the high bytes belongs to the low (and high) nibbles of the p-th pair of chunks.
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    Ints high[8];
    in.chunk(16, high);
    in.chunk(32, high + 4);
    const Ints fifth = splat(0x10101010u);
    unroll<0, 8>([&](auto c) THIMBLE_INLINE {
      Ints chunk[4];
      in.chunk(48 + 16 * c.value, chunk);
      unroll<0, 4>([&](auto t) THIMBLE_INLINE {
        constexpr int kStep = 16 * (c.value / 2) + 4 * (c.value % 2) + t.value;
        constexpr int kBit = 2 * (c.value / 2);
        const Ints bits = high[4 * (c.value % 2) + t.value];
        const Ints first = bit_and(move_bits<kBit, 4>(bits), fifth);
        const Ints second = bit_and(move_bits<kBit + 1, 4>(bits), fifth);
        sink.template step<kStep>(bit_or(low_nibbles(chunk[t.value]), first));
        sink.template step<kStep + 8>(bit_or(high_nibbles(chunk[t.value]), second));
      });
    });
  }
};

struct PanelQ6K {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = true;
  static constexpr size_t kBytes = sizeof(BlockQ6K), kFirstDword = 0;
  static constexpr int kMaxByte = 63, kOffset = 32, kSubs = 16;
  static constexpr bool kSigned = false, kHasMin = false;
  template <class Reader, class Scales>
  THIMBLE_INLINE static inline void scales(Reader& in, Scales& out) noexcept {
    Ints packed[4];
    in.chunk(192, packed);
    unroll<0, 4>([&](auto t) THIMBLE_INLINE { unpack_signed_bytes(packed[t.value], out.scale + 4 * t.value); });
    out.d = in.half(208);
  }
  // The place of a chunk in the order in which scales() and steps() read them.
  static constexpr size_t packed_place(size_t at) noexcept {
    if (at == 192) return 0;
    const bool high = at >= 128;
    const size_t half = high ? (at - 128) / 32 : at / 64;
    const size_t third = high ? 2 : at % 64 / 32;
    return 16 * (1 + 6 * half + 3 * (at % 32 / 16) + third);
  }
  // 128 elements are 4 chunks of ql and 2 of qh; 16 columns of them at a time.
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    const Ints top = splat(0x30303030u);
    unroll<0, 4>([&](auto c) THIMBLE_INLINE {
      constexpr size_t kHalf = c.value / 2;
      constexpr size_t kPart = c.value % 2;
      Ints low_a[4], low_b[4], high[4];
      in.chunk(64 * kHalf + 16 * kPart, low_a);
      in.chunk(64 * kHalf + 32 + 16 * kPart, low_b);
      in.chunk(128 + 32 * kHalf + 16 * kPart, high);
      unroll<0, 4>([&](auto t) THIMBLE_INLINE {
        constexpr int kStep = 32 * (c.value / 2) + 4 * (c.value % 2) + t.value;
        const Ints bits = high[t.value];
        sink.template step<kStep>(bit_or(low_nibbles(low_a[t.value]), bit_and(shl<4>(bits), top)));
        sink.template step<kStep + 8>(bit_or(low_nibbles(low_b[t.value]), bit_and(shl<2>(bits), top)));
        sink.template step<kStep + 16>(bit_or(high_nibbles(low_a[t.value]), bit_and(bits, top)));
        sink.template step<kStep + 24>(bit_or(high_nibbles(low_b[t.value]), bit_and(shr<2>(bits), top)));
      });
    });
  }
};

struct PanelQ2K {
  static constexpr bool kReadInOrder = false;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockQ2K), kFirstDword = 0;
  static constexpr int kMaxByte = 3, kOffset = 0, kSubs = 16;
  static constexpr bool kSigned = false, kHasMin = true;
  template <class Reader, class Scales>
  THIMBLE_INLINE static inline void scales(Reader& in, Scales& out) noexcept {
    Ints packed[4];
    in.chunk(0, packed);
    unroll<0, 4>([&](auto t) THIMBLE_INLINE {
      unpack_bytes(low_nibbles(packed[t.value]), out.scale + 4 * t.value);
      unpack_bytes(high_nibbles(packed[t.value]), out.min + 4 * t.value);
    });
    const Ints halves = in.dword(80);
    out.d = half_to_floats(halves);
    out.dmin = half_to_floats(shr<16>(halves));
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    const Ints two = splat(0x03030303u);
    unroll<0, 4>([&](auto c) THIMBLE_INLINE {
      Ints chunk[4];
      in.chunk(16 + 16 * c.value, chunk);
      unroll<0, 4>([&](auto t) THIMBLE_INLINE {
        constexpr int kStep = 32 * (c.value / 2) + 4 * (c.value % 2) + t.value;
        sink.template step<kStep>(bit_and(chunk[t.value], two));
        sink.template step<kStep + 8>(bit_and(shr<2>(chunk[t.value]), two));
        sink.template step<kStep + 16>(bit_and(shr<4>(chunk[t.value]), two));
        sink.template step<kStep + 24>(bit_and(shr<6>(chunk[t.value]), two));
      });
    });
  }
};

struct PanelQ3K {
  static constexpr bool kReadInOrder = false;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockQ3K), kFirstDword = 0;
  static constexpr int kMaxByte = 7, kOffset = 4, kSubs = 16;
  static constexpr bool kSigned = false, kHasMin = false;

  // unpack_q3_scale in tensor/blocks.h, four at a time.
  template <class Reader, class Scales>
  THIMBLE_INLINE static inline void scales(Reader& in, Scales& out) noexcept {
    const Ints first = in.dword(96);
    const Ints second = in.dword(100);
    const Ints bits = in.dword(104);
    const Ints top = splat(0x30303030u);
    unpack_bytes(bit_or(low_nibbles(first), bit_and(shl<4>(bits), top)), out.scale);
    unpack_bytes(bit_or(low_nibbles(second), bit_and(shl<2>(bits), top)), out.scale + 4);
    unpack_bytes(bit_or(high_nibbles(first), bit_and(bits, top)), out.scale + 8);
    unpack_bytes(bit_or(high_nibbles(second), bit_and(shr<2>(bits), top)), out.scale + 12);
    unroll<0, 16>([&](auto s) THIMBLE_INLINE { out.scale[s.value] = sub_ints(out.scale[s.value], splat(32)); });
    out.d = in.half(108);
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    Ints high[8];
    in.chunk(0, high);
    in.chunk(16, high + 4);
    const Ints two = splat(0x03030303u);
    const Ints third = splat(0x04040404u);
    unroll<0, 4>([&](auto c) THIMBLE_INLINE {
      Ints chunk[4];
      in.chunk(32 + 16 * c.value, chunk);
      unroll<0, 4>([&](auto t) THIMBLE_INLINE {
        constexpr int kStep = 32 * (c.value / 2) + 4 * (c.value % 2) + t.value;
        const Ints bits = high[4 * (c.value % 2) + t.value];
        unroll<0, 4>([&](auto j) THIMBLE_INLINE {
          const Ints low = bit_and(shr<2 * j.value>(chunk[t.value]), two);
          const Ints top = bit_and(move_bits<4 * (c.value / 2) + j.value, 2>(bits), third);
          sink.template step<kStep + 8 * j.value>(bit_or(low, top));
        });
      });
    });
  }
};

struct PanelIQ4_XS {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockIQ4_XS), kFirstDword = 0;
  static constexpr int kMaxByte = 127, kOffset = 0, kSubs = 8;
  static constexpr bool kSigned = true, kHasMin = false;
  template <class Reader, class Scales>
  THIMBLE_INLINE static inline void scales(Reader& in, Scales& out) noexcept {
    const Ints d_and_high = in.dword(0);
    const Ints low = in.dword(4);
    out.d = half_to_floats(d_and_high);
    unroll<0, 8>([&](auto s) THIMBLE_INLINE {
      const Ints top = bit_and(move_bits<16 + 2 * s.value, 4>(d_and_high), splat(0x30));
      out.scale[s.value] = sub_ints(bit_or(bit_and(shr<4 * s.value>(low), splat(15)), top), splat(32));
    });
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    unroll<0, 8>([&](auto s) THIMBLE_INLINE {
      Ints chunk[4];
      in.chunk(8 + 16 * s.value, chunk);
      unroll<0, 4>([&](auto t) THIMBLE_INLINE {
        constexpr int kStep = 8 * s.value + t.value;
        sink.template step<kStep>(iq4_levels(low_nibbles(chunk[t.value])));
        sink.template step<kStep + 4>(iq4_levels(high_nibbles(chunk[t.value])));
      });
    });
  }
};

}  // namespace
}  // namespace thimble::kernels
