// Block-quantized types taken apart: the levels that a block has once its scales are chosen, the search for those
// scales, and the packing of scales and codes into bytes. Everything that rounds (plain encoding, GPTQ, coordinate
// descent) is written against this one table, so that a new type is one row.
//
//     encode(x) == fit(x) -> nearest(every element) -> store
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor_type.h"

namespace thimble {

inline constexpr int kMaxSubBlocks = 16;
inline constexpr int kMaxGridElems = 256;  // elements of the largest block

/// The levels of one block: element e with code c has value scale[s] * levels[c] + offset[s], s = e / sub_elems, bit
/// for bit what decode gives. Symmetric types have offset -0.0f, the neutral element of float addition.
struct BlockGrid {
  float scale[kMaxSubBlocks];
  float offset[kMaxSubBlocks];
  float inverse[kMaxSubBlocks];      // 1 / scale, or 0 where scale is 0
  uint16_t d;                        // as stored: half precision bits of d
  uint16_t m;                        // of dmin or m; 0 where the type has none
  uint8_t sub_scale[kMaxSubBlocks];  // as stored, with the bias of the type; 0 where there are none
  uint8_t sub_min[kMaxSubBlocks];
};

/// One block-quantized type.
struct GridTraits {
  TensorType type;
  int block_elems;
  int sub_elems;        // elements that share scale and offset; a divisor of block_elems
  int n_codes;          // at most 256
  const float* levels;  // [n_codes], ascending
  bool uniform;         // levels[c] == levels[0] + c

  /// Searches the scales of one block x [block_elems] for a small squared error, weighted by `importance` [block_elems]
  /// (mean squared activation of each input channel), or by the type's own default where that is null. Any input gives
  /// a well-formed grid of finite levels.
  void (*fit)(const float* x, const float* importance, BlockGrid* grid) noexcept;
  /// Fills scale, offset and inverse (unused entries 0) from d, m, sub_scale and sub_min.
  void (*derive)(BlockGrid* grid) noexcept;
  /// Packs d, m, sub_scale, sub_min and codes [block_elems] into one block of block_bytes.
  void (*store)(const BlockGrid& grid, const uint8_t* codes, std::byte* block) noexcept;
  /// The inverse of store; derives the levels too.
  void (*load)(const std::byte* block, BlockGrid* grid, uint8_t* codes) noexcept;
};

/// Row of the table, or null for types that are not block-quantized (f32, f16, bf16, integers).
const GridTraits* find_grid(TensorType type) noexcept;

/// Value of `code` at `element`.
static inline float grid_value(const GridTraits& type, const BlockGrid& grid, int element, uint8_t code) noexcept {
  const int s = element / type.sub_elems;
  return grid.scale[s] * type.levels[code] + grid.offset[s];
}

/// The code whose value is nearest to `value` at `element` (0..block_elems - 1); of equally near ones, uniform types
/// take the even level. The lowest code for NaN. Where the scale is 0 all codes have one value, and this is the code of
/// the level nearest to zero.
uint8_t nearest(const GridTraits& type, const BlockGrid& grid, int element, float value) noexcept;

/// nearest() of a whole block x [block_elems] to codes [block_elems].
void nearest_codes(const GridTraits& type, const BlockGrid& grid, const float* x, uint8_t* codes) noexcept;

}  // namespace thimble
