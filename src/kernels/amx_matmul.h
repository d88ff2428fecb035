// The matmul of super-block types in int8 tiles, written against simd_avx512_amx.h, the readers of panel_reader.h and
// the types of expand_super.h.
//
// A sub-block's integer scale would have to be applied to every 16 x 16 tile of sums after 16 or 32 elements: more work
// than the tile product. Instead it is multiplied into the weights when a panel is expanded. scale * q needs up to 14
// bits with sign (Q6_K: -128 * -32), so it is split into a signed high byte and an unsigned low byte, operands of
// their own:
//   sum(scale q x) = 256 * sum(high x) + sum(low x)             at most 4096 * 127 * 256: exact in 32 bits
//   sum(min s)     = 256 * sum(min high(s)) + sum(min low(s))   s: the sums of 16 values of x, 16 bits each
// The integers are those of scalar_matmul.h and the float operations follow it, so results are equal bit for bit.
//
// A pass multiplies two panels of 16 rows by 16 columns: four tiles of sums, which is what hides the 52 cycles that a
// tile product takes. The float part of the pass before is done between its steps: the tile unit and the vector unit
// work side by side, but the out-of-order window is shorter than either part.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/expand_super.h"
#include "kernels/panel_matmul.h"

namespace thimble::kernels {
namespace {

constexpr int kPanels = 2;
constexpr int64_t kTileColumns = 16;
// Columns per expanded panel: their float results take 64 KiB of second-level cache, and the expansion of two panels is
// spread over 32 passes.
constexpr int64_t kMaxTileColumns = 512;
// Floats from the results of one panel to those of the next. Not a multiple of 4 KiB: a load whose address agrees with
// an earlier store in its low 12 bits waits for it (Intel optimization manual, "4K aliasing").
constexpr int64_t kPanelResults = kLanes * (kMaxTileColumns + 8);
constexpr size_t kTileRow = 64;  // bytes
constexpr size_t kTile = 16 * kTileRow;
constexpr TileConfig kFullTiles = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

/// 16 rows x 256 weights with their scales multiplied in, as tiles: [4 tiles][16 dwords of k][16 rows][4 bytes].
struct alignas(64) TilePanel {
  uint8_t low[4 * kTile];
  uint8_t high[4 * kTile];
  // Factors of the bytes of ActivationGroup::sums, one tile each. A tile of full width reads ActivationGroup::d behind
  // the sums; its factors, the second half, stay zero.
  uint8_t min_low[kTile];
  uint8_t min_high[kTile];
  float d[kLanes];
  float dmin[kLanes];
};

/// Integer results of one pass: per panel [16 columns][16 rows].
struct alignas(64) TileSums {
  int32_t low[kPanels][256];
  int32_t high[kPanels][256];
  int32_t min_low[kPanels][256];
  int32_t min_high[kPanels][256];
};

// ---- expansion

/// The sink of steps: multiplies weights by their scale and takes the products apart.
template <class Type>
struct FoldedSteps {
  TilePanel& panel;
  Ints scale[Type::kSubs];  // twice per lane, 8 bits in 16
  Ints shift[Type::kSubs];  // byte_offset times it, in 16 bits

  template <int kStep>
  THIMBLE_INLINE inline void step(Ints bytes) const noexcept {
    constexpr int kSub = kStep * Type::kSubs / 64;
    // vpmaddubsw multiplies the even bytes, or the odd ones; the other half of each pair is multiplied by zero, so that
    // nothing saturates: 255 * 128 < 2^15.
    Ints even = _mm512_maddubs_epi16(bytes, scale[kSub]);
    Ints odd = _mm512_maddubs_epi16(bytes, _mm512_slli_epi16(scale[kSub], 8));
    if constexpr (byte_offset<Type>() != 0) {
      even = _mm512_sub_epi16(even, shift[kSub]);
      odd = _mm512_sub_epi16(odd, shift[kSub]);
    }
    constexpr __mmask64 kOddBytes = 0xAAAAAAAAAAAAAAAAu;
    store_ints(panel.low + kTileRow * kStep, _mm512_mask_blend_epi8(kOddBytes, even, _mm512_slli_epi16(odd, 8)));
    store_ints(panel.high + kTileRow * kStep, _mm512_mask_blend_epi8(kOddBytes, _mm512_srli_epi16(even, 8), odd));
  }
};

template <class Type, class Reader>
inline void expand_tiles(Reader& in, int64_t group, TilePanel& p) noexcept {
  SuperScales<Type> s;
  in.begin_block(group);
  Type::scales(in, s);
  store_floats(p.d, s.d);
  if constexpr (Type::kHasMin) {
    store_floats(p.dmin, s.dmin);
    unroll<0, 8>([&](auto j) THIMBLE_INLINE {  // bytes min, 0, min, 0 against the low, high, low, high bytes of sums
      const Ints low = s.min[j.value * Type::kSubs / 8];
      const Ints pair = pack_pair(low, s.min[(2 * j.value + 1) * Type::kSubs / 16]);
      store_ints(p.min_low + kTileRow * j.value, pair);
      store_ints(p.min_high + kTileRow * j.value, shl<8>(pair));
    });
  }
  FoldedSteps<Type> sink{p, {}, {}};
  unroll<0, Type::kSubs>([&](auto i) THIMBLE_INLINE {
    const Ints twice = pack_pair(s.scale[i.value], s.scale[i.value]);
    sink.scale[i.value] = bit_and(twice, splat(0x00FF00FFu));
    sink.shift[i.value] = _mm512_mullo_epi16(twice, _mm512_set1_epi16(static_cast<int16_t>(byte_offset<Type>())));
  });
  Type::steps(in, sink);
}

// ---- one pass

inline void zero_sums() noexcept {
  zero_tile<0>();
  zero_tile<1>();
  zero_tile<2>();
  zero_tile<3>();
}

/// Adds the products of 64 elements: tiles 0 and 1 are low and high of the first panel, 2 and 3 of the second.
inline void add_step(const TilePanel* const* p, const std::byte* x, size_t x_stride, size_t step) noexcept {
  load_tile<4>(x + kTileRow * step, x_stride);
  load_tile<5>(p[0]->low + kTile * step, kTileRow);
  dot_tiles_su<0, 4, 5>();
  load_tile<6>(p[0]->high + kTile * step, kTileRow);
  dot_tiles_ss<1, 4, 6>();
  load_tile<7>(p[1]->low + kTile * step, kTileRow);
  dot_tiles_su<2, 4, 7>();
  load_tile<5>(p[1]->high + kTile * step, kTileRow);
  dot_tiles_ss<3, 4, 5>();
}

inline void add_mins(const TilePanel* const* p, const std::byte* x, size_t x_stride) noexcept {
  load_tile<4>(x + offsetof(ActivationGroup, sums), x_stride);
  load_tile<6>(p[0]->min_low, kTileRow);
  dot_tiles_us<0, 4, 6>();
  load_tile<7>(p[0]->min_high, kTileRow);
  dot_tiles_ss<1, 4, 7>();
  load_tile<5>(p[1]->min_low, kTileRow);
  dot_tiles_us<2, 4, 5>();
  load_tile<6>(p[1]->min_high, kTileRow);
  dot_tiles_ss<3, 4, 6>();
}

inline void store_sums(int32_t (*low)[256], int32_t (*high)[256]) noexcept {
  store_tile<0>(low[0], kTileRow);
  store_tile<1>(high[0], kTileRow);
  store_tile<2>(low[1], kTileRow);
  store_tile<3>(high[1], kTileRow);
}

/// The float part of a pass that has its sums.
struct Finish {
  const std::byte* x;  // activations of its 16 columns in this group, x_stride apart
  float* acc;          // results of its first column: [16 columns][16 rows], kPanelResults from panel to panel
  int first;           // columns before this one were part of the pass before
};

inline Floats joined(const int32_t* low, const int32_t* high, int column) noexcept {
  return to_floats(add_ints(load_ints(low + 16 * column), shl<8>(load_ints(high + 16 * column))));
}

template <class Type>
inline void finish_columns(const TilePanel* const* p, const TileSums& sums, const Finish& pass, size_t x_stride,
                           int begin, int end) noexcept {
  for (int c = begin < pass.first ? pass.first : begin; c < end; ++c) {
    float dx = 0;
    __builtin_memcpy(&dx, pass.x + static_cast<size_t>(c) * x_stride + offsetof(ActivationGroup, d), sizeof dx);
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      Floats term = mul_floats(load_floats(p[i]->d), joined(sums.low[i], sums.high[i], c));
      if constexpr (Type::kHasMin) {
        term = sub_floats(term, mul_floats(load_floats(p[i]->dmin), joined(sums.min_low[i], sums.min_high[i], c)));
      }
      float* at = pass.acc + kPanelResults * i + kLanes * c;
      store_floats(at, add_floats(load_floats(at), mul_floats(splat_float(dx), term)));
    }
  }
}

// ---- the loop over columns, rows and groups

/// Two panels times 16 <= n_cols <= kMaxTileColumns columns in one group. x: the group of the first column.
template <class Type>
inline void multiply_group(const TilePanel* const* p, const std::byte* x, size_t x_stride, int64_t n_cols,
                           float* acc) noexcept {
  TileSums sums;  // read by the finish of a pass before the next pass stores its own
  Finish before = {x, acc, kTileColumns};
  for (int64_t column = 0; column < n_cols; column += kTileColumns) {
    // The last pass moves back to end with the last column: tiles are always full.
    const int64_t first = column + kTileColumns <= n_cols ? column : n_cols - kTileColumns;
    const std::byte* here = x + static_cast<size_t>(first) * x_stride;
    zero_sums();
    for (int step = 0; step < 4; ++step) {
      add_step(p, here, x_stride, static_cast<size_t>(step));
      finish_columns<Type>(p, sums, before, x_stride, 4 * step, 4 * step + 4);
    }
    store_sums(sums.low, sums.high);
    if constexpr (Type::kHasMin) {
      zero_sums();
      add_mins(p, here, x_stride);
      store_sums(sums.min_low, sums.min_high);
    }
    before = {here, acc + kLanes * first, static_cast<int>(column - first)};
  }
  finish_columns<Type>(p, sums, before, x_stride, 0, kTileColumns);
}

template <class Type, class Reader>
inline void multiply_tile_rows(const MatmulArgs& a, int64_t row, float* acc) noexcept {
  TilePanel panels[kPanels];
  // Without rows for the second panel the first is multiplied twice.
  const bool both = row + kLanes < a.n_rows;
  const TilePanel* p[kPanels] = {&panels[0], &panels[both ? 1 : 0]};
  if constexpr (Type::kHasMin) {
    for (TilePanel& panel : panels) {
      for (size_t at = kTile / 2; at < kTile; at += kTileRow) {
        store_ints(panel.min_low + at, splat(0));
        store_ints(panel.min_high + at, splat(0));
      }
    }
  }
  for (int i = 0; i < kPanels; ++i) {
    for (int64_t c = 0; c < a.n_cols; ++c) store_floats(acc + kPanelResults * i + kLanes * c, splat_float(0.0f));
  }
  Reader first(a, row);
  Reader second(a, both ? row + kLanes : row);
  const int64_t n_groups = a.k / kGroup;
  for (int64_t group = 0; group < n_groups; ++group) {
    first.begin_group(group, n_groups);
    expand_tiles<Type>(first, group, panels[0]);
    if (both) {
      second.begin_group(group, n_groups);
      expand_tiles<Type>(second, group, panels[1]);
    }
    const std::byte* x = a.x + static_cast<size_t>(group) * sizeof(ActivationGroup);
    multiply_group<Type>(p, x, a.x_stride, a.n_cols, acc);
  }
  store_results(a, row, 0, a.n_cols, acc);
  if (both) store_results(a, row + kLanes, 0, a.n_cols, acc + kPanelResults);
}

/// The kernel. `few` multiplies what is left of the columns when that does not fill a tile: expanding for it would cost
/// more than it saves.
template <class Type>
inline void matmul_tiles(const MatmulArgs& a, MatmulFn few) noexcept {
  alignas(64) float acc[kPanels * kPanelResults];
  MatmulArgs part = a;
  while (part.n_cols >= kTileColumns) {
    const int64_t left = part.n_cols;
    part.n_cols = left < kMaxTileColumns ? left : kMaxTileColumns;
    // Not around the loop: `few` is other code, and a thread must not keep tiles it does not use.
    configure_tiles(kFullTiles);
    for (int64_t row = 0; row < a.n_rows; row += kPanels * kLanes) {
      part.packed ? multiply_tile_rows<Type, PackedReader<Type>>(part, row, acc)
                  : multiply_tile_rows<Type, StockReader<Type>>(part, row, acc);
    }
    release_tiles();
    part.x += static_cast<size_t>(part.n_cols) * part.x_stride;
    part.out += static_cast<size_t>(part.n_cols) * part.out_stride;
    part.n_cols = left - part.n_cols;
  }
  if (part.n_cols > 0) few(part);
}

}  // namespace
}  // namespace thimble::kernels
