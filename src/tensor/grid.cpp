// The table of block-quantized types and rounding to nearest. A new type is its row of kFitSpecs (fit_spec.h) and its
// block, pack and unpack (grid_pack.h).
#include "tensor/grid.h"

#include <array>
#include <utility>

#include "tensor/grid_fit.h"
#include "tensor/grid_pack.h"
#include "tensor/scale_round.h"

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

template <FitSpec kSpec>
constexpr const float* levels_of() {
  if constexpr (kSpec.iq4) {
    return kIq4Levels.data();
  } else {
    return kUniformLevels<kSpec.high - kSpec.low + 1, kSpec.low>.data();
  }
}

template <size_t kIndex>
void fit(const float* x, const float* importance, BlockGrid* grid) noexcept {
  kGridFitScalar.fit_blocks[kIndex](x, 0, importance, 0, 1, grid);
}

template <TensorType kType>
void derive(BlockGrid* grid) noexcept {
  derive_grid<kType>(*grid);
}

template <TensorType kType>
void store(const BlockGrid& grid, const uint8_t* codes, std::byte* block) noexcept {
  pack(grid, codes, *blocks_as<typename StoredAs<kType>::Block>(block));
}

template <TensorType kType>
void load(const std::byte* block, BlockGrid* grid, uint8_t* codes) noexcept {
  *grid = {};
  unpack(*blocks_as<typename StoredAs<kType>::Block>(block), *grid, codes);
  derive_grid<kType>(*grid);
}

template <size_t kIndex>
constexpr GridTraits grid_row() {
  constexpr FitSpec kSpec = kFitSpecs[kIndex];
  return {.type = kSpec.type,
          .block_elems = kSpec.elems,
          .sub_elems = kSpec.elems / kSpec.subs,
          .n_codes = kSpec.iq4 ? 16 : kSpec.high - kSpec.low + 1,
          .levels = levels_of<kSpec>(),
          .uniform = !kSpec.iq4,
          .fit = fit<kIndex>,
          .derive = derive<kSpec.type>,
          .store = store<kSpec.type>,
          .load = load<kSpec.type>};
}

template <size_t... kIndex>
constexpr std::array<GridTraits, kFitTypes> grid_rows(std::index_sequence<kIndex...> /*types*/) {
  return {grid_row<kIndex>()...};
}
constexpr std::array<GridTraits, kFitTypes> kGrids = grid_rows(std::make_index_sequence<kFitTypes>{});

// Nearest integer, ties to even, within low..high; low for NaN.
float nearest_level_of(float target, float low, float high) noexcept {
  target = target > low ? target : low;
  target = target < high ? target : high;
  return (target + kRoundToInteger) - kRoundToInteger;
}

// `target` is in units of levels. Counting midpoints has no branches that depend on the data.
uint8_t nearest_level(const GridTraits& type, float target) noexcept {
  if (type.uniform) {
    const float low = type.levels[0];
    return static_cast<uint8_t>(nearest_level_of(target, low, type.levels[type.n_codes - 1]) - low);
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
