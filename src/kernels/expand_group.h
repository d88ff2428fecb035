// How panels of the group types are unpacked; see panel_group.h for what a type says, tensor/blocks.h for the layouts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/expand_bits.h"
#include "kernels/panel_group.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

template <class Block>
struct PanelGroup {
  static constexpr size_t kBytes = sizeof(Block), kFirstDword = 0;
  static constexpr bool kReadInOrder = true, kPackedInReadOrder = false;
  static constexpr int kElems = Block::kElems;
  static constexpr int kHighDwords = (sizeof(Block) - 4 - kElems / 2) / 4;
  static constexpr int kMaxByte = kHighDwords > 0 ? 31 : 15, kOffset = 0;
  static constexpr bool kSigned = false, kHasMin = true;

  template <class Reader>
  THIMBLE_INLINE static inline void header(Reader& in, GroupHeader<PanelGroup>& out) noexcept {
    const Ints both = in.dword(0);
    out.d = half_to_floats(both);
    out.m = half_to_floats(shr<16>(both));
    if constexpr (kHighDwords == 4) in.chunk(4, out.high);
    if constexpr (kHighDwords == 2) {
      out.high[0] = in.dword(4);
      out.high[1] = in.dword(8);
    }
  }

  // Fifth bits of step kStep of block kSub at bit 4 of each byte.
  template <int kSub, int kStep>
  THIMBLE_INLINE static inline Ints with_fifth(Ints nibbles, const GroupHeader<PanelGroup>& header) noexcept {
    if constexpr (kHighDwords == 0) {
      return nibbles;
    } else {
      constexpr int kBit = (8 * kSub + kStep) / kHighDwords;
      const Ints bits = move_bits<kBit, 4>(header.high[kStep % kHighDwords]);
      return bit_or(nibbles, bit_and(bits, splat(0x10101010u)));
    }
  }

  template <int kSub, class Reader, class Sink>
  THIMBLE_INLINE static inline void steps(Reader& in, const GroupHeader<PanelGroup>& header, Sink& sink) noexcept {
    Ints chunk[4];
    in.chunk(4 + 4 * kHighDwords + 16 * kSub, chunk);
    unroll<0, 4>([&](auto t) THIMBLE_INLINE {
      sink.template step<t.value>(with_fifth<kSub, t.value>(low_nibbles(chunk[t.value]), header));
      sink.template step<t.value + 4>(with_fifth<kSub, t.value + 4>(high_nibbles(chunk[t.value]), header));
    });
  }
};

using PanelI4_G64 = PanelGroup<BlockI4_G64>;
using PanelI4_G128 = PanelGroup<BlockI4_G128>;
using PanelI5_G64 = PanelGroup<BlockI5_G64>;
using PanelI5_G128 = PanelGroup<BlockI5_G128>;

}  // namespace
}  // namespace thimble::kernels
