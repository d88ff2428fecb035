// Blocks taken apart and put together again: levels against decode, store against load, nearest against a search of all
// codes.
#include "tensor/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/float16.h"
#include "base/random.h"
#include "tensor/grid_fit.h"

namespace thimble {
namespace {

// Deterministic bits.
uint32_t noise_bits(uint64_t i) {
  return static_cast<uint32_t>(mix_bits(i * 0x9E3779B97F4A7C15u + 0x632BE59BD9B4E019u) >> 32);
}

std::vector<float> normal_row(size_t n, uint64_t seed) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t bits = noise_bits(seed * n + i);
    x[i] = static_cast<float>(static_cast<int>((bits & 0xFFFF) + (bits >> 16)) - 65535) * 0x1p-18f;
  }
  return x;
}

std::vector<const GridTraits*> all_grids() {
  std::vector<const GridTraits*> grids;
  for (const TypeTraits& type : all_types()) {
    if (type.is_quantized) grids.push_back(find_grid(type.type));
  }
  return grids;
}

std::vector<std::byte> random_block(const TypeTraits& type, uint64_t seed) {
  std::vector<std::byte> block(type.block_bytes);
  for (size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::byte>(noise_bits(seed * 1000 + i) & 0xFF);
  return block;
}

TEST(Grid, EveryQuantizedTypeHasOne) {
  for (const TypeTraits& type : all_types()) {
    const GridTraits* grid = find_grid(type.type);
    ASSERT_EQ(grid != nullptr, type.is_quantized) << type.name;
    if (grid == nullptr) continue;
    EXPECT_EQ(grid->block_elems, static_cast<int>(type.block_elems)) << type.name;
    EXPECT_LE(grid->block_elems, kMaxGridElems) << type.name;
    EXPECT_EQ(grid->block_elems % grid->sub_elems, 0) << type.name;
    EXPECT_LE(grid->block_elems / grid->sub_elems, kMaxSubBlocks) << type.name;
    for (int c = 1; c < grid->n_codes; ++c) EXPECT_LT(grid->levels[c - 1], grid->levels[c]) << type.name;
    for (int c = 0; c < grid->n_codes && grid->uniform; ++c) {
      EXPECT_EQ(grid->levels[c], grid->levels[0] + static_cast<float>(c)) << type.name;
    }
  }
}

// Any bytes are a block: also those no encoder writes.
TEST(Grid, StoreIsTheInverseOfLoad) {
  for (const GridTraits* type : all_grids()) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const std::vector<std::byte> block = random_block(traits(type->type), seed);
      BlockGrid grid;
      std::vector<uint8_t> codes(static_cast<size_t>(type->block_elems));
      type->load(block.data(), &grid, codes.data());
      for (const uint8_t code : codes) ASSERT_LT(code, type->n_codes) << traits(type->type).name;
      std::vector<std::byte> again(block.size());
      type->store(grid, codes.data(), again.data());
      EXPECT_EQ(block, again) << traits(type->type).name;
    }
  }
}

TEST(Grid, LevelsAreWhatDecodeGives) {
  for (const GridTraits* type : all_grids()) {
    const TypeTraits& row = traits(type->type);
    std::vector<float> decoded(row.block_elems);
    std::vector<uint8_t> codes(row.block_elems);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const std::vector<std::byte> block = random_block(row, seed);
      BlockGrid grid;
      type->load(block.data(), &grid, codes.data());
      row.decode(block.data(), decoded.data(), type->block_elems);
      for (int e = 0; e < type->block_elems; ++e) {
        const auto i = static_cast<size_t>(e);
        const float value = grid_value(*type, grid, e, codes[i]);
        if (std::isnan(value) && std::isnan(decoded[i])) continue;
        ASSERT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(decoded[i])) << row.name << " " << e;
      }
    }
  }
}

TEST(Grid, FitDerivesItsLevelsAndStoredFields) {
  for (const GridTraits* type : all_grids()) {
    const std::vector<float> x = normal_row(static_cast<size_t>(type->block_elems), 3);
    BlockGrid grid;
    std::memset(&grid, 0xAB, sizeof(grid));
    type->fit(x.data(), nullptr, &grid);
    BlockGrid derived = grid;
    type->derive(&derived);
    EXPECT_EQ(std::memcmp(grid.scale, derived.scale, sizeof(grid.scale)), 0) << traits(type->type).name;
    EXPECT_EQ(std::memcmp(grid.offset, derived.offset, sizeof(grid.offset)), 0) << traits(type->type).name;
    EXPECT_EQ(std::memcmp(grid.inverse, derived.inverse, sizeof(grid.inverse)), 0) << traits(type->type).name;
    std::vector<uint8_t> codes(x.size());
    nearest_codes(*type, grid, x.data(), codes.data());
    std::vector<std::byte> block(traits(type->type).block_bytes);
    type->store(grid, codes.data(), block.data());
    BlockGrid loaded;
    std::vector<uint8_t> loaded_codes(x.size());
    type->load(block.data(), &loaded, loaded_codes.data());
    EXPECT_EQ(codes, loaded_codes) << traits(type->type).name;
    EXPECT_EQ(std::memcmp(grid.scale, loaded.scale, sizeof(grid.scale)), 0) << traits(type->type).name;
    EXPECT_EQ(grid.d, loaded.d);
    EXPECT_EQ(grid.m, loaded.m);
    EXPECT_EQ(std::memcmp(grid.sub_scale, loaded.sub_scale, sizeof(grid.sub_scale)), 0) << traits(type->type).name;
    EXPECT_EQ(std::memcmp(grid.sub_min, loaded.sub_min, sizeof(grid.sub_min)), 0) << traits(type->type).name;
  }
}

TEST(Grid, EncodeIsFitNearestStore) {
  for (const GridTraits* type : all_grids()) {
    const TypeTraits& row = traits(type->type);
    const std::vector<float> x = normal_row(row.block_elems, 5);
    const std::vector<float> importance = normal_row(row.block_elems, 6);
    for (const float* weights : {static_cast<const float*>(nullptr), importance.data()}) {
      BlockGrid grid;
      std::vector<uint8_t> codes(x.size());
      type->fit(x.data(), weights, &grid);
      for (int e = 0; e < type->block_elems; ++e) {
        codes[static_cast<size_t>(e)] = nearest(*type, grid, e, x[static_cast<size_t>(e)]);
      }
      std::vector<std::byte> block(row.block_bytes);
      std::vector<std::byte> encoded(row.block_bytes);
      type->store(grid, codes.data(), block.data());
      row.encode(x.data(), weights, encoded.data(), type->block_elems);
      EXPECT_EQ(block, encoded) << row.name;
    }
  }
}

TEST(Grid, NearestIsNearest) {
  for (const GridTraits* type : all_grids()) {
    const std::vector<float> x = normal_row(static_cast<size_t>(type->block_elems), 7);
    BlockGrid grid;
    type->fit(x.data(), nullptr, &grid);
    for (int e = 0; e < type->block_elems; ++e) {
      const float value = 1.5f * x[static_cast<size_t>(e)];
      const uint8_t code = nearest(*type, grid, e, value);
      const float chosen = std::fabs(grid_value(*type, grid, e, code) - value);
      for (int c = 0; c < type->n_codes; ++c) {
        const float other = std::fabs(grid_value(*type, grid, e, static_cast<uint8_t>(c)) - value);
        // A millionth of the step: the code comes from a product with the inverse of the scale.
        ASSERT_LE(chosen, other + 1e-5f * std::fabs(grid.scale[e / type->sub_elems])) << traits(type->type).name;
      }
    }
    EXPECT_EQ(nearest(*type, grid, 0, std::nanf("")), 0);
  }
}

// What a search minimises: squared error times importance times sqrt(sigma2 * mean square + x^2), in double and written
// a second time.
std::vector<double> search_weights(const FitSpec& spec, const float* x, const float* importance) {
  double square = 0.0;
  for (int e = 0; e < spec.elems; ++e) square += static_cast<double>(x[e]) * static_cast<double>(x[e]) / spec.elems;
  std::vector<double> weights;
  for (int e = 0; e < spec.elems; ++e) {
    const double value = static_cast<double>(x[e]);
    const double favored = spec.sigma2 > 0 ? std::sqrt(spec.sigma2 * square + value * value) : 1.0;
    weights.push_back((importance != nullptr ? static_cast<double>(importance[e]) : 1.0) * favored);
  }
  return weights;
}

double grid_error(const GridTraits& type, const BlockGrid& grid, const float* x, const std::vector<double>& weights) {
  double error = 0.0;
  for (int e = 0; e < type.block_elems; ++e) {
    const float value = grid_value(type, grid, e, nearest(type, grid, e, x[e]));
    const double difference = static_cast<double>(value) - static_cast<double>(x[e]);
    error += weights[static_cast<size_t>(e)] * difference * difference;
  }
  return error;
}

std::vector<float> positive_row(size_t n, uint64_t seed) {
  std::vector<float> row = normal_row(n, seed);
  for (float& value : row) value = value * value + 0.001f;
  return row;
}

// Types with one scale: every second half precision scale that can be of use, tried one by one. The searches stop 2.4
// codes beyond the ends (lane_fit.h); what is left out makes up these per cents.
TEST(Grid, SearchComesCloseToTheBestScale) {
  for (const TensorType id : {TensorType::q4_0, TensorType::q5_0, TensorType::iq4_nl}) {
    const GridTraits& type = *find_grid(id);
    const FitSpec& spec = kFitSpecs[fit_index(id)];
    double total = 0.0;
    double best_total = 0.0;
    for (uint64_t seed = 0; seed < 12; ++seed) {
      const std::vector<float> x = normal_row(32, 20 + seed);
      const std::vector<float> importance = positive_row(32, 40 + seed);
      const std::vector<double> weights = search_weights(spec, x.data(), importance.data());
      BlockGrid grid;
      type.fit(x.data(), importance.data(), &grid);
      const double error = grid_error(type, grid, x.data(), weights);
      double best = error;
      const uint32_t middle = grid.d & 0x7FFFu;
      for (uint32_t half = middle - 512; half < middle + 512; half += 2) {  // 0.7 to 1.5 of the scale
        for (const uint32_t sign : {0u, 0x8000u}) {
          BlockGrid other = {};
          other.d = static_cast<uint16_t>(half | sign);
          type.derive(&other);
          best = std::min(best, grid_error(type, other, x.data(), weights));
        }
      }
      total += error;
      best_total += best;
    }
    EXPECT_LE(total, 1.05 * best_total) << traits(id).name;
  }
}

// A search that is worth its time is nowhere worse than scales taken from the extremes, which is how most rounding
// goes.
TEST(Grid, SearchIsNeverWorseThanTheExtremes) {
  for (const TensorType id : {TensorType::q4_0, TensorType::q4_1, TensorType::q5_0, TensorType::q5_1}) {
    const GridTraits& type = *find_grid(id);
    const FitSpec& spec = kFitSpecs[fit_index(id)];
    for (uint64_t seed = 0; seed < 200; ++seed) {
      const std::vector<float> x = normal_row(32, 100 + seed);
      const std::vector<float> importance = positive_row(32, 500 + seed);
      const float* given = seed % 2 == 0 ? nullptr : importance.data();
      const std::vector<double> weights = search_weights(spec, x.data(), given);
      BlockGrid grid;
      type.fit(x.data(), given, &grid);
      BlockGrid plain = {};
      const auto [low, high] = std::minmax_element(x.begin(), x.end());
      const float largest = -*low > *high ? *low : *high;
      const bool offset = spec.family == ScaleFamily::affine;
      plain.d =
          f32_to_f16(offset ? (*high - *low) / static_cast<float>(spec.high) : largest / static_cast<float>(spec.low));
      plain.m = offset ? f32_to_f16(*low) : uint16_t{0};
      type.derive(&plain);
      ASSERT_LE(grid_error(type, grid, x.data(), weights), grid_error(type, plain, x.data(), weights) * 1.0001)
          << traits(id).name << " " << seed;
    }
  }
}

}  // namespace
}  // namespace thimble
