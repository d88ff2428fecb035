// From rows of floats to grids and blocks: the loops around lane_fit.h, shared by tensor/grid_fit.cpp and the kernels
// of every instruction set. Written against the vocabulary of lane_math.h and
//     lane_store_codes           stores kLanes integers 0..255 as bytes
#pragma once

#include <cstring>

#include "tensor/grid_pack.h"
#include "tensor/lane_fit.h"

namespace thimble {
namespace {

inline void transpose(const float* const* rows, int n, Floats* out) noexcept {
  for (int i = 0; i < n; ++i) {
    float lanes[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = rows[lane][i];
    std::memcpy(out + i, lanes, sizeof(Floats));
  }
}

/// Input of kLanes blocks: x and importance (or null) of each.
struct LaneInput {
  const float* x[kLanes];
  const float* importance[kLanes];
};

template <FitSpec kSpec>
inline void load_blocks(const LaneInput& input, LaneBlocks<kSpec.elems>& block) noexcept {
  transpose(input.x, kSpec.elems, block.x);
  block.magnitude = normalize_lanes(block.x, kSpec.elems);
  if constexpr (kSpec.family == ScaleFamily::largest) return;
  if (input.importance[0] == nullptr) {
    for (Floats& weight : block.w) weight = splat(1.0f);
  } else {
    transpose(input.importance, kSpec.elems, block.w);
    normalize_weights(block.w, kSpec.elems);
  }
  if constexpr (kSpec.sigma2 > 0) {
    favor_large_elements(block.x, kSpec.elems, static_cast<float>(kSpec.sigma2), block.w);
  }
}

/// The grids of the first n lanes to out [n].
template <FitSpec kSpec>
inline void store_grids(const LaneGrids<kSpec.subs>& lanes, int n, BlockGrid* out) noexcept {
  constexpr bool kHasScales = kSpec.family == ScaleFamily::sub_affine || kSpec.family == ScaleFamily::sub_scale;
  constexpr bool kHasMins = kSpec.family == ScaleFamily::sub_affine;
  Ints scales[kSpec.subs];
  Ints mins[kSpec.subs];
  for (int s = 0; s < kSpec.subs; ++s) {
    if constexpr (kHasScales) scales[s] = to_ints(lanes.sub_scale[s]) + kSpec.bias;
    if constexpr (kHasMins) mins[s] = to_ints(lanes.sub_min[s]);
  }
  for (int lane = 0; lane < n; ++lane) {
    BlockGrid& grid = out[lane];
    grid.d = static_cast<uint16_t>(lanes.d[lane]);
    grid.m = static_cast<uint16_t>(lanes.m[lane]);
    std::memset(grid.sub_scale, 0, sizeof(grid.sub_scale));
    std::memset(grid.sub_min, 0, sizeof(grid.sub_min));
    for (int s = 0; s < kSpec.subs; ++s) {
      if constexpr (kHasScales) grid.sub_scale[s] = static_cast<uint8_t>(scales[s][lane]);
      if constexpr (kHasMins) grid.sub_min[s] = static_cast<uint8_t>(mins[s][lane]);
    }
    derive_grid<kSpec.type>(grid);
  }
}

/// Fits the blocks of `input` and writes the grids of the first n lanes to out [n].
template <FitSpec kSpec>
inline void fit_lanes(const LaneInput& input, int n, BlockGrid* out) noexcept {
  LaneBlocks<kSpec.elems> block;
  LaneGrids<kSpec.subs> grids = {};
  load_blocks<kSpec>(input, block);
  fit_block<kSpec>(block, grids);
  store_grids<kSpec>(grids, n, out);
}

// ---- rounding

/// nearest_codes of tensor/grid.h: x, codes [elems].
template <FitSpec kSpec>
inline void round_block(const BlockGrid& grid, const float* x, uint8_t* codes) noexcept {
  constexpr int N = kSpec.elems / kSpec.subs;
  static_assert(N % kLanes == 0);
  for (int s = 0; s < kSpec.subs; ++s) {
    for (int i = N * s; i < N * (s + 1); i += kLanes) {
      Floats value;
      std::memcpy(&value, x + i, sizeof(value));
      const Floats target = (value - grid.offset[s]) * grid.inverse[s];
      Ints code;
      if constexpr (kSpec.iq4) {
        code = Ints{};
        for (int k = 1; k < 16; ++k) {
          code -= target >= 0.5f * static_cast<float>(kIq4Values[k - 1] + kIq4Values[k]);
        }
      } else {
        // NaN fails the comparison of lane_max and becomes the lowest level.
        code = to_ints(UniformLevels(kSpec.low, kSpec.high)(target)) - kSpec.low;
      }
      lane_store_codes(code, codes + i);
    }
  }
}

// ---- whole matrices

/// FitBlocksFn of kernels/grid_fit.h.
template <FitSpec kSpec>
void fit_blocks(const float* x, int64_t x_stride, const float* importance, int64_t importance_stride, int64_t n_blocks,
                BlockGrid* out) noexcept {
  for (int64_t b = 0; b < n_blocks; b += kLanes) {
    const int n = n_blocks - b < kLanes ? static_cast<int>(n_blocks - b) : kLanes;
    LaneInput input;
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t i = b + (lane < n ? lane : 0);
      input.x[lane] = x + i * x_stride;
      input.importance[lane] = importance != nullptr ? importance + i * importance_stride : nullptr;
    }
    fit_lanes<kSpec>(input, n, out + b);
  }
}

/// EncodeRowsFn of kernels/grid_fit.h. Lanes run over all blocks of all rows, so that they are full but at the end.
template <FitSpec kSpec>
void encode_rows(const float* x, const float* importance, int64_t n_rows, int64_t n_cols, std::byte* out) noexcept {
  using Block = typename StoredAs<kSpec.type>::Block;
  const int64_t row_blocks = n_cols / kSpec.elems;
  const int64_t n_blocks = n_rows * row_blocks;
  Block* blocks = blocks_as<Block>(out);
  int64_t column = 0;  // of the next block, in blocks
  for (int64_t b = 0; b < n_blocks; b += kLanes) {
    const int n = n_blocks - b < kLanes ? static_cast<int>(n_blocks - b) : kLanes;
    LaneInput input;
    for (int lane = 0; lane < kLanes; ++lane) {
      input.x[lane] = x + (b + (lane < n ? lane : 0)) * kSpec.elems;
      input.importance[lane] = importance != nullptr ? importance + column * kSpec.elems : nullptr;
      if (++column == row_blocks) column = 0;
    }
    BlockGrid grids[kLanes];
    fit_lanes<kSpec>(input, n, grids);
    for (int lane = 0; lane < n; ++lane) {
      uint8_t codes[kSpec.elems];
      round_block<kSpec>(grids[lane], input.x[lane], codes);
      pack(grids[lane], codes, blocks[b + lane]);
    }
  }
}

}  // namespace
}  // namespace thimble
