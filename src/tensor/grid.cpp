// The table of block-quantized types and rounding to nearest. A new type is its fit_NAME (grid_fit.h), pack and unpack
// (grid_pack.h) and one row of kGrids.
#include "tensor/grid.h"

#include <algorithm>
#include <array>
#include <span>

#include "tensor/grid_fit.h"
#include "tensor/grid_pack.h"
#include "tensor/scale_search.h"

namespace thimble {

namespace {

template <int kCount, int kLow>
constexpr std::array<float, kCount> uniform_levels() {
  std::array<float, kCount> levels{};
  for (int c = 0; c < kCount; ++c) levels[static_cast<size_t>(c)] = static_cast<float>(kLow + c);
  return levels;
}

// Levels kLow .. kLow + kCount - 1.
template <int kCount, int kLow>
constexpr std::array<float, kCount> kUniformLevels = uniform_levels<kCount, kLow>();

constexpr std::array<float, 16> iq4_levels() {
  std::array<float, 16> levels{};
  for (size_t c = 0; c < 16; ++c) levels[c] = static_cast<float>(kIq4Values[c]);
  return levels;
}
constexpr std::array<float, 16> kIq4Levels = iq4_levels();

template <ScaleForm kForm, int kSubs, int kBias>
void derive(BlockGrid* grid) noexcept {
  std::fill(grid->scale + kSubs, grid->scale + kMaxSubBlocks, 0.0f);
  std::fill(grid->offset + kSubs, grid->offset + kMaxSubBlocks, 0.0f);
  std::fill(grid->inverse + kSubs, grid->inverse + kMaxSubBlocks, 0.0f);
  derive_levels<kForm, kSubs, kBias>(*grid);
}

template <typename Block>
void store(const BlockGrid& grid, const uint8_t* codes, std::byte* block) noexcept {
  pack(grid, codes, *blocks_as<Block>(block));
}

template <typename Block, ScaleForm kForm, int kSubs, int kBias>
void load(const std::byte* block, BlockGrid* grid, uint8_t* codes) noexcept {
  *grid = {};
  unpack(*blocks_as<Block>(block), *grid, codes);
  derive<kForm, kSubs, kBias>(grid);
}

using FitFn = void (*)(const float*, const float*, BlockGrid*) noexcept;

// What grid_pack.h says about the stored scales of a type.
template <typename Block, ScaleForm kForm, int kSubs, int kBias = 0>
struct Stored {
  static constexpr GridTraits row(TensorType type, int elems, std::span<const float> levels, FitFn fit) {
    const bool uniform = levels.data() != kIq4Levels.data();
    return {type,          elems,
            elems / kSubs, static_cast<int>(levels.size()),
            levels.data(), uniform,
            fit,           derive<kForm, kSubs, kBias>,
            store<Block>,  load<Block, kForm, kSubs, kBias>};
  }
};

using enum ScaleForm;
constexpr GridTraits kGrids[] = {
    Stored<BlockQ8_0, d, 1>::row(TensorType::q8_0, 32, kUniformLevels<256, -128>, fit_q8_0),
    Stored<BlockQ4_0, d, 1>::row(TensorType::q4_0, 32, kUniformLevels<16, -8>, fit_q4_0),
    Stored<BlockQ4_1, d_m, 1>::row(TensorType::q4_1, 32, kUniformLevels<16, 0>, fit_q4_1),
    Stored<BlockQ5_0, d, 1>::row(TensorType::q5_0, 32, kUniformLevels<32, -16>, fit_q5_0),
    Stored<BlockQ5_1, d_m, 1>::row(TensorType::q5_1, 32, kUniformLevels<32, 0>, fit_q5_1),
    Stored<BlockQ2K, sub_scales_mins, 16>::row(TensorType::q2_k, 256, kUniformLevels<4, 0>, fit_q2_k),
    Stored<BlockQ3K, sub_scales, 16, 32>::row(TensorType::q3_k, 256, kUniformLevels<8, -4>, fit_q3_k),
    Stored<BlockQ4K, sub_scales_mins, 8>::row(TensorType::q4_k, 256, kUniformLevels<16, 0>, fit_q4_k),
    Stored<BlockQ5K, sub_scales_mins, 8>::row(TensorType::q5_k, 256, kUniformLevels<32, 0>, fit_q5_k),
    Stored<BlockQ6K, sub_scales_i8, 16>::row(TensorType::q6_k, 256, kUniformLevels<64, -32>, fit_q6_k),
    Stored<BlockIQ4_NL, d, 1>::row(TensorType::iq4_nl, 32, kIq4Levels, fit_iq4_nl),
    Stored<BlockI4_G64, d_m, 1>::row(TensorType::i4_g64, 64, kUniformLevels<16, 0>, fit_i4_g64),
    Stored<BlockI4_G128, d_m, 1>::row(TensorType::i4_g128, 128, kUniformLevels<16, 0>, fit_i4_g128),
    Stored<BlockI5_G64, d_m, 1>::row(TensorType::i5_g64, 64, kUniformLevels<32, 0>, fit_i5_g64),
    Stored<BlockI5_G128, d_m, 1>::row(TensorType::i5_g128, 128, kUniformLevels<32, 0>, fit_i5_g128),
    Stored<BlockIQ4_XS, sub_scales, 8, 32>::row(TensorType::iq4_xs, 256, kIq4Levels, fit_iq4_xs),
};

// `target` is in units of levels. Counting midpoints has no branches that depend on the data.
uint8_t nearest_level(const GridTraits& type, float target) noexcept {
  if (type.uniform) {
    const CodeRange range = {type.levels[0], type.levels[type.n_codes - 1]};
    return static_cast<uint8_t>(nearest_code(target, range) - range.low);
  }
  int code = 0;
  for (int c = 1; c < type.n_codes; ++c) code += target >= 0.5f * (type.levels[c - 1] + type.levels[c]) ? 1 : 0;
  return static_cast<uint8_t>(code);
}

}  // namespace

const GridTraits* find_grid(TensorType type) noexcept {
  for (const GridTraits& row : kGrids) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

uint8_t nearest(const GridTraits& type, const BlockGrid& grid, int element, float value) noexcept {
  const int s = element / type.sub_elems;
  return nearest_level(type, (value - grid.offset[s]) * grid.inverse[s]);
}

void nearest_codes(const GridTraits& type, const BlockGrid& grid, const float* x, uint8_t* codes) noexcept {
  for (int e = 0; e < type.block_elems; ++e) codes[e] = nearest(type, grid, e, x[e]);
}

}  // namespace thimble
