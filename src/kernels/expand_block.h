// How panels of the types with blocks of 32 are unpacked, written against the vocabulary of simd_<isa>.h. Each type
// says
//   kBytes    of a block          kMaxByte  largest unsigned quant     kSigned  quants are signed bytes
//   kOffset   subtracted from an unsigned quant     kHasMin  values are d * q + m
//   kPackedInReadOrder  false: chunks of packed blocks have the order of the GGUF block
//   kReadInOrder  scales() and steps() read packed blocks (of 8 or 16 lanes) in rising addresses, but for the odd
//   halfword kFirstDword  bytes before the first whole dword: 2 when the block begins with an odd halfword scales()  d
//   (and m) of each row    steps()  hands 8 steps of four elements of each row to the sink, in the form
//             that is stored (stored_form below)
// `in` is a reader of panel_reader.h at the block. Layouts are those of tensor/blocks.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/expand_bits.h"
#include "kernels/panel_block.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

struct BlockScales {
  Floats d;
  Floats m;
};

// Types without a minimum: m is not used.
template <class Reader>
THIMBLE_INLINE inline BlockScales one_half(Reader& in) noexcept {
  const Floats d = in.half(0);
  return {d, d};
}
template <class Reader>
THIMBLE_INLINE inline BlockScales two_halves(Reader& in) noexcept {
  const Ints both = in.dword(0);
  return {half_to_floats(both), half_to_floats(shr<16>(both))};
}

// The fifth bits of step t, bits 4 t to 4 t + 3 of `high`, as bit 4 of bytes 0 to 3. shifted: high << 4. They are in
// the upper half of one byte of either, which is repeated, each with the bit of another element.
template <int kStep>
THIMBLE_INLINE inline Ints fifth_bits(Ints high, Ints shifted) noexcept {
  const Ints bytes = repeat_byte<kStep / 2>(kStep % 2 == 1 ? high : shifted);
  return min_bytes(bit_and(bytes, splat(0x80402010u)), splat(0x10101010u));
}

// 16 bytes of nibbles at `at`: elements 0..15 are the low ones, 16..31 the high ones.
template <class Reader, class Sink>
THIMBLE_INLINE inline void nibble_steps(Reader& in, size_t at, Sink& sink) noexcept {
  Ints chunk[4];
  in.chunk(at, chunk);
  unroll<0, 4>([&](auto t) THIMBLE_INLINE {
    sink.template step<t.value>(low_nibbles(chunk[t.value]));
    sink.template step<t.value + 4>(high_nibbles(chunk[t.value]));
  });
}

// The same with the fifth bits in the 32 bits before them.
template <class Reader, class Sink>
THIMBLE_INLINE inline void nibble_and_bit_steps(Reader& in, size_t at, Sink& sink) noexcept {
  const Ints high = in.dword(at - 4);
  const Ints shifted = shl<4>(high);
  Ints chunk[4];
  in.chunk(at, chunk);
  unroll<0, 4>([&](auto t) THIMBLE_INLINE {
    const Ints first = fifth_bits<t.value>(high, shifted);
    const Ints second = fifth_bits<t.value + 4>(high, shifted);
    sink.template step<t.value>(bit_or(low_nibbles(chunk[t.value]), first));
    sink.template step<t.value + 4>(bit_or(high_nibbles(chunk[t.value]), second));
  });
}

struct PanelQ8_0 {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockQ8_0), kFirstDword = 2;
  static constexpr int kMaxByte = 128, kOffset = 0;
  static constexpr bool kSigned = true, kHasMin = false;
  template <class Reader>
  THIMBLE_INLINE static inline BlockScales scales(Reader& in) noexcept {
    return one_half(in);
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    unroll<0, 2>([&](auto c) THIMBLE_INLINE {
      Ints chunk[4];
      in.chunk(2 + 16 * c.value, chunk);
      unroll<0, 4>([&](auto t)
                       THIMBLE_INLINE { sink.template step<4 * c.value + t.value>(stored_form(chunk[t.value])); });
    });
  }
};

struct PanelQ4_0 {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockQ4_0), kFirstDword = 2;
  static constexpr int kMaxByte = 15, kOffset = 8;
  static constexpr bool kSigned = false, kHasMin = false;
  template <class Reader>
  THIMBLE_INLINE static inline BlockScales scales(Reader& in) noexcept {
    return one_half(in);
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    nibble_steps(in, 2, sink);
  }
};

struct PanelQ4_1 {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockQ4_1), kFirstDword = 0;
  static constexpr int kMaxByte = 15, kOffset = 0;
  static constexpr bool kSigned = false, kHasMin = true;
  template <class Reader>
  THIMBLE_INLINE static inline BlockScales scales(Reader& in) noexcept {
    return two_halves(in);
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    nibble_steps(in, 4, sink);
  }
};

struct PanelQ5_0 {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockQ5_0), kFirstDword = 2;
  static constexpr int kMaxByte = 31, kOffset = 16;
  static constexpr bool kSigned = false, kHasMin = false;
  template <class Reader>
  THIMBLE_INLINE static inline BlockScales scales(Reader& in) noexcept {
    return one_half(in);
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    nibble_and_bit_steps(in, 6, sink);
  }
};

struct PanelQ5_1 {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockQ5_1), kFirstDword = 0;
  static constexpr int kMaxByte = 31, kOffset = 0;
  static constexpr bool kSigned = false, kHasMin = true;
  template <class Reader>
  THIMBLE_INLINE static inline BlockScales scales(Reader& in) noexcept {
    return two_halves(in);
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    nibble_and_bit_steps(in, 8, sink);
  }
};

struct PanelIQ4_NL {
  static constexpr bool kReadInOrder = true;
  static constexpr bool kPackedInReadOrder = false;
  static constexpr size_t kBytes = sizeof(BlockIQ4_NL), kFirstDword = 2;
  static constexpr int kMaxByte = 127, kOffset = 0;
  static constexpr bool kSigned = true, kHasMin = false;
  template <class Reader>
  THIMBLE_INLINE static inline BlockScales scales(Reader& in) noexcept {
    return one_half(in);
  }
  template <class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, Sink& sink) noexcept {
    Ints chunk[4];
    in.chunk(2, chunk);
    unroll<0, 4>([&](auto t) THIMBLE_INLINE {
      sink.template step<t.value>(iq4_levels(low_nibbles(chunk[t.value])));
      sink.template step<t.value + 4>(iq4_levels(high_nibbles(chunk[t.value])));
    });
  }
};

}  // namespace
}  // namespace thimble::kernels
