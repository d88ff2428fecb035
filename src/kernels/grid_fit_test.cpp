// Every instruction set against the portable searches, bit for bit, on rows that a model file may contain.
#include "kernels/grid_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/random.h"

namespace thimble::kernels {
namespace {

// Deterministic bits.
uint32_t noise(uint64_t i) {
  return static_cast<uint32_t>(mix_bits(i * 0x9E3779B97F4A7C15u + 0x632BE59BD9B4E019u) >> 32);
}

float uniform(uint64_t i) {
  return static_cast<float>(static_cast<int32_t>(noise(i))) * 0x1p-31f;
}

enum class RowKind { heavy_tails, mixed_magnitudes, hostile };

// Cubes of uniform noise have heavier tails than a normal distribution.
std::vector<float> make_rows(RowKind data, size_t n) {
  constexpr float kOdd[] = {0.0f,      -0.0f,      std::numeric_limits<float>::quiet_NaN(),
                            HUGE_VALF, -HUGE_VALF, 3.4e38f,
                            1e-45f,    -1e-40f,    1e-8f,
                            65504.0f,  -1e6f,      1.0f};
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) {
    const float u = uniform(i);
    x[i] = u * u * u;
    // A magnitude per 32 elements, from denormals to beyond half precision; some blocks are zero.
    if (data != RowKind::heavy_tails) x[i] = std::ldexp(x[i], static_cast<int>(noise(i / 32 + 77) % 260) - 150);
    if (data != RowKind::heavy_tails && noise(i / 32 + 99) % 7 == 0) x[i] = 0.0f;
    if (data == RowKind::hostile && noise(i + 1234567) % 5 == 0) x[i] = kOdd[noise(i + 7654321) % std::size(kOdd)];
  }
  return x;
}

std::vector<float> make_importance(RowKind data, size_t n) {
  std::vector<float> importance = make_rows(data, n + 1000);
  importance.erase(importance.begin(), importance.begin() + 1000);
  if (data != RowKind::hostile) {
    for (float& value : importance) value = std::fabs(value);
  }
  return importance;
}

std::vector<Isa> wide_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::avx2, Isa::avx512_vnni, Isa::neon}) {
    if (supports(host_cpu(), isa)) isas.push_back(isa);
  }
  return isas;
}

TEST(GridFit, EncodesTheSameBitsOnEveryInstructionSet) {
  constexpr int64_t kColumns = 512 + 256;
  constexpr int64_t kRows = 7;  // 21 super-blocks, 168 blocks: no multiple of any number of lanes
  for (const RowKind data : {RowKind::heavy_tails, RowKind::mixed_magnitudes, RowKind::hostile}) {
    const std::vector<float> x = make_rows(data, kRows * kColumns);
    const std::vector<float> importance = make_importance(data, kColumns);
    for (size_t i = 0; i < kFitTypes; ++i) {
      const TypeTraits& type = traits(kFitSpecs[i].type);
      const auto row_size = static_cast<size_t>(kColumns / type.block_elems * type.block_bytes);
      for (const float* weights : {static_cast<const float*>(nullptr), importance.data()}) {
        std::vector<std::byte> expected(kRows * row_size);
        for (size_t row = 0; row < kRows; ++row) {
          type.encode(x.data() + row * kColumns, weights, expected.data() + row * row_size, kColumns);
        }
        for (const Isa isa : wide_isas()) {
          std::vector<std::byte> out(expected.size());
          select_encode_rows(type.type, isa)(x.data(), weights, kRows, kColumns, out.data());
          ASSERT_EQ(expected, out) << type.name << " " << isa_name(isa) << " data " << static_cast<int>(data)
                                   << (weights != nullptr ? " importance" : "");
        }
      }
    }
  }
}

bool same(const BlockGrid& a, const BlockGrid& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

// A column of blocks through rows of a matrix, as GPTQ fits them: strides, one importance for all, any count.
TEST(GridFit, FitsStridedBlocksAsOneByOne) {
  static_assert(sizeof(BlockGrid) == 3 * sizeof(float) * kMaxSubBlocks + 4 + 2 * kMaxSubBlocks,
                "no padding to compare");
  constexpr int64_t kStride = 300;
  constexpr int64_t kBlocks = 37;
  const std::vector<float> x = make_rows(RowKind::heavy_tails, kStride * kBlocks);
  const std::vector<float> importance = make_importance(RowKind::heavy_tails, kStride * kBlocks);
  std::vector<Isa> isas = wide_isas();
  isas.push_back(Isa::scalar);
  for (size_t i = 0; i < kFitTypes; ++i) {
    const GridTraits& type = *find_grid(kFitSpecs[i].type);
    for (const int64_t importance_stride : {int64_t{0}, kStride}) {
      for (const Isa isa : isas) {
        std::vector<BlockGrid> grids(kBlocks);
        select_fit_blocks(type.type, isa)(x.data(), kStride, importance.data(), importance_stride, kBlocks,
                                          grids.data());
        for (int64_t b = 0; b < kBlocks; ++b) {
          BlockGrid expected;
          type.fit(x.data() + b * kStride, importance.data() + b * importance_stride, &expected);
          ASSERT_TRUE(same(grids[static_cast<size_t>(b)], expected))
              << traits(type.type).name << " " << isa_name(isa) << " block " << b;
        }
      }
    }
  }
}

TEST(GridFit, SelectionFallsBackToScalar) {
  EXPECT_EQ(select_grid_fit(Isa::scalar), &kGridFitScalar);
  EXPECT_EQ(select_encode_rows(TensorType::f16, Isa::scalar), nullptr);
  EXPECT_EQ(select_fit_blocks(TensorType::i32, Isa::scalar), nullptr);
#if defined(__x86_64__)
  EXPECT_EQ(select_grid_fit(Isa::avx512_amx), &kGridFitAvx512Vnni);
#elif defined(__aarch64__)
  EXPECT_EQ(select_grid_fit(Isa::neon_i8mm), &kGridFitNeon);
#endif
}

}  // namespace
}  // namespace thimble::kernels
