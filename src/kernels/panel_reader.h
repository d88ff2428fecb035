// Where kernels read the blocks of kLanes neighbouring rows, one row per lane, written against a vocabulary
// (simd_<isa>.h, included before this header). Both readers take byte offsets of the GGUF block:
//   StockReader   rows in GGUF layout: 16-byte chunks of all rows are transposed in registers
//   PackedReader  panels of packed_layout.h: a register load is all that is left
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"
#include "kernels/unroll.h"

namespace thimble::kernels {
namespace {

constexpr int64_t kGroup = 256;

template <class Type>
struct StockReader {
  // Panels between the one that is read and the one that is asked for: one is too late for memory, four thrash
  // (measured on Zen 4: 13.1, 14.8 and 12.3 GB/s for one, two and four).
  static constexpr int64_t kPanelsAhead = 2;

  PanelRows rows;
  size_t block_at = 0;
  uintptr_t first_ahead = 0;
  size_t panel_bytes = 0;

  StockReader() = default;
  StockReader(const MatmulArgs& a, int64_t row) noexcept { begin_rows(a, row); }

  // Lanes past the last row repeat it and are not stored.
  void begin_rows(const MatmulArgs& a, int64_t row) noexcept {
    for (int64_t r = 0; r < kLanes; ++r) {
      const int64_t clamped = row + r < a.n_rows ? row + r : a.n_rows - 1;
      rows.row[r] = reinterpret_cast<const uint8_t*>(a.weights) + static_cast<size_t>(clamped) * a.weight_stride;
    }
    panel_bytes = kLanes * a.weight_stride;
    first_ahead =
        reinterpret_cast<uintptr_t>(a.weights) + static_cast<size_t>(row + kPanelsAhead * kLanes) * a.weight_stride;
  }

  /// Part of a later panel to ask for while `group` is read. Rows of a panel are read side by side, a pattern that
  /// hardware prefetchers lose. Past the end of the weights it is only a wasted hint.
  void begin_group(int64_t group, int64_t n_groups) noexcept {
    rows.ahead = first_ahead + panel_bytes * static_cast<size_t>(group) / static_cast<size_t>(n_groups);
  }
  void begin_block(int64_t block) noexcept { block_at = static_cast<size_t>(block) * Type::kBytes; }

  /// 16 bytes of every row: out[t] holds dword t of each.
  THIMBLE_INLINE inline void chunk(size_t at, Ints* out) noexcept { load_chunk(rows, block_at + at, out); }
  THIMBLE_INLINE inline Ints dword(size_t at) noexcept { return fields<uint32_t>(at); }
  THIMBLE_INLINE inline Floats half(size_t at) noexcept { return half_to_floats(fields<uint16_t>(at)); }

  // Small fields that no 16-byte chunk holds.
  template <typename Field>
  THIMBLE_INLINE inline Ints fields(size_t at) noexcept {
    alignas(64) uint32_t values[kLanes];
    for (int r = 0; r < kLanes; ++r) {
      Field field = 0;
      __builtin_memcpy(&field, rows.row[r] + block_at + at, sizeof field);
      values[r] = field;
    }
    return load_ints(values);
  }
};

// Where the packed block has the 16 bytes that the GGUF block has at `at`: packed_layout.cpp.
template <class Type>
THIMBLE_INLINE inline size_t packed_place(size_t at) noexcept {
  if constexpr (kLanes >= 8 && Type::kPackedInReadOrder) {
    return Type::packed_place(at);
  } else {
    return at;
  }
}

/// How a packed panel is read where one column is multiplied, out of memory.
///   usual      Types whose packed blocks are read in rising addresses ask for nothing ahead where registers hold 16
///              rows: the hardware's prefetchers see one stream, which one Zen 4 core reads at 99 % of its bandwidth
///              (Q4_K). Software prefetches take the places in which a core waits for lines: at any distance from 1 to
///              12 KiB they stop at 20 of 31 GB/s. The others lose the hardware's prefetchers (Q3_K: 6 GB/s) and need
///              them (25 GB/s); so far ahead as the page where those would have stopped. With 8 rows (processors
///              without AVX-512) asking pays: on Zen 3 decode out of memory gains 10 to 30 % (Q6_K loses 4), most of it
///              1 to 2 KiB ahead.
///   far_ahead  MatmulArgs::prefetch, 16 rows: a Zen 5 core that asks for nothing reads Q4_K at 24 of 41 GB/s, and at
///              37 with hints between its loads (36 where the compiler gathers them before a block; 35 with hints for
///              the second-level cache). 6 and 8 KiB are as good, 4 are 5 % worse.
enum class Reading : uint8_t { usual, far_ahead };

template <class Type>
constexpr bool kUsuallyAsks = kLanes <= 8 || !Type::kReadInOrder;
template <bool kReadInOrder>
constexpr uintptr_t kBytesAhead = kLanes == 8 && kReadInOrder ? 1536 : 6144;
constexpr uintptr_t kBytesFarAhead = 7168;

template <class Type, Reading kReading = Reading::usual>
struct PackedReader {
  const uint8_t* panel = nullptr;
  const uint8_t* block = nullptr;

  PackedReader() = default;
  PackedReader(const MatmulArgs& a, int64_t row) noexcept { begin_rows(a, row); }

  void begin_rows(const MatmulArgs& a, int64_t row) noexcept {
    panel = reinterpret_cast<const uint8_t*>(a.weights) + static_cast<size_t>(row / kLanes) * a.weight_stride;
  }

  void begin_group(int64_t, int64_t) noexcept {}
  void begin_block(int64_t index) noexcept { block = panel + static_cast<size_t>(index) * Type::kBytes * kLanes; }

  THIMBLE_INLINE inline void chunk(size_t at, Ints* out) noexcept {
    const uint8_t* from = dwords(packed_place<Type>(at));
    for (size_t line = 0; line < 16 * kLanes; line += 64) ask(from + line);
    unroll<0, 4>([&](auto t) THIMBLE_INLINE { out[t.value] = load_ints_unaligned(from + 4 * kLanes * t.value); });
    // Keeps the compiler from gathering the hints of all chunks before the first of them.
    if constexpr (kReading == Reading::far_ahead) __asm__ volatile("" ::: "memory");
  }
  THIMBLE_INLINE inline Ints dword(size_t at) noexcept {
    ask(dwords(at));
    return load_ints_unaligned(dwords(at));
  }
  // The odd halfword is the last of the packed block, wherever the GGUF block has it.
  THIMBLE_INLINE inline Floats half(size_t) noexcept {
    const uint8_t* last = block + (Type::kBytes - 2) * kLanes;
    ask(last);
    return load_halves(last);
  }

 private:
  THIMBLE_INLINE static inline void ask(const uint8_t* from) noexcept {
    const uintptr_t address = reinterpret_cast<uintptr_t>(from);
    if constexpr (kReading == Reading::far_ahead) {
      ask_for_once(address + kBytesFarAhead);
    } else if constexpr (kUsuallyAsks<Type>) {
      ask_for(address + kBytesAhead<Type::kReadInOrder>);
    }
  }
  const uint8_t* dwords(size_t at) const noexcept { return block + (at - Type::kFirstDword) * kLanes; }
};

}  // namespace
}  // namespace thimble::kernels
