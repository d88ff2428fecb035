// Rounding through a backend gives what the table's encoders and searches give.
#include "ops/round.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace thimble::ops {
namespace {

std::vector<float> make_row(int64_t n) {
  std::vector<float> x;
  uint32_t state = 1;
  for (int64_t i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    x.push_back(static_cast<float>(static_cast<int32_t>(state)) * 0x1p-34f);
  }
  return x;
}

TEST(Round, RowsEqualTheTableOfTypes) {
  ThreadPool pool(1);
  const Backend backend = make_backend(pool, kernels::best_isa(host_cpu()));
  constexpr int64_t kColumns = 512;
  constexpr int64_t kRows = 3;
  const std::vector<float> x = make_row(kRows * kColumns);
  for (const TypeTraits& type : all_types()) {
    if (type.encode == nullptr) continue;
    const int64_t row_size = kColumns / type.block_elems * type.block_bytes;
    std::vector<std::byte> expected(static_cast<size_t>(kRows * row_size));
    std::vector<std::byte> out(expected.size());
    for (int64_t row = 0; row < kRows; ++row) {
      type.encode(x.data() + row * kColumns, nullptr, expected.data() + row * row_size, kColumns);
    }
    encode_rows(backend, type.type, x.data(), kRows, kColumns, nullptr, out.data());
    EXPECT_EQ(out, expected) << type.name;
  }
  encode_rows(backend, TensorType::q4_k, nullptr, 0, kColumns, nullptr, nullptr);
}

TEST(Round, BlocksOfAColumnEqualSingleFits) {
  ThreadPool pool(1);
  const Backend backend = make_backend(pool, kernels::best_isa(host_cpu()));
  constexpr int64_t kColumns = 512;
  constexpr int64_t kRows = 5;
  const std::vector<float> x = make_row(kRows * kColumns);
  const GridTraits& type = *find_grid(TensorType::q4_k);
  std::vector<BlockGrid> grids(kRows);
  fit_blocks(backend, type.type, {x.data() + 256, kColumns, nullptr, 0, kRows}, grids.data());
  for (int64_t row = 0; row < kRows; ++row) {
    BlockGrid expected;
    type.fit(x.data() + row * kColumns + 256, nullptr, &expected);
    EXPECT_EQ(std::memcmp(&grids[static_cast<size_t>(row)], &expected, sizeof(expected)), 0) << row;
  }
}

}  // namespace
}  // namespace thimble::ops
