#include "base/checked.h"

#include <gtest/gtest.h>

namespace thimble {
namespace {

constexpr uint64_t kMax = UINT64_MAX;

TEST(Checked, AddMulAlignAtTheEdges) {
  EXPECT_EQ(checked_add(kMax, 0), kMax);
  EXPECT_EQ(checked_add(kMax, 1), std::nullopt);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 31), uint64_t{1} << 63);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_mul(kMax, 0), 0u);
  EXPECT_EQ(checked_align(33, 32), 64u);
  EXPECT_EQ(checked_align(64, 32), 64u);
  EXPECT_EQ(checked_align(kMax - 5, 32), std::nullopt);
}

}  // namespace
}  // namespace thimble
