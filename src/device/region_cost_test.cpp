#include "device/region_cost.h"

#include <gtest/gtest.h>

#include <cmath>

namespace thimble {
namespace {

TEST(RegionCost, IsATimeWithOneThreadAndWithMore) {
  for (const int n_threads : {1, 2, 3}) {
    ThreadPool pool(n_threads);
    const double seconds = region_seconds(pool);
    EXPECT_TRUE(std::isfinite(seconds)) << n_threads;
    EXPECT_GT(seconds, 0.0) << n_threads;
  }
}

}  // namespace
}  // namespace thimble
