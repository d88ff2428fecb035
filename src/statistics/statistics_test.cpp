#include "statistics/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "statistics/test_clusters.h"

namespace thimble {
namespace {

TEST(Bootstrap, ConstantDataGiveAPointInterval) {
  const std::vector<double> x(50, 3.5);
  const Interval i = bootstrap_mean(x, own_clusters(50), 0.95, 500, 1);
  EXPECT_DOUBLE_EQ(i.mean, 3.5);
  EXPECT_DOUBLE_EQ(i.low, 3.5);
  EXPECT_DOUBLE_EQ(i.high, 3.5);
}

TEST(Bootstrap, IsDeterministicForASeedAndMovesWithIt) {
  std::vector<double> x;
  for (int i = 0; i < 40; ++i) x.push_back(i * i % 17);
  const Interval a = bootstrap_mean(x, own_clusters(40), 0.9, 400, 7);
  const Interval b = bootstrap_mean(x, own_clusters(40), 0.9, 400, 7);
  const Interval c = bootstrap_mean(x, own_clusters(40), 0.9, 400, 8);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
  EXPECT_TRUE(a.low != c.low || a.high != c.high);
}

TEST(Bootstrap, OneClusterFallsBackToItems) {
  const std::vector<double> x = {0, 1, 1, 0};
  const std::vector<std::string> one(4, "only");
  const Interval i = bootstrap_mean(x, one, 0.95, 200, 1);
  EXPECT_DOUBLE_EQ(i.mean, 0.5);
  EXPECT_LT(i.low, 0.5);
  EXPECT_GT(i.high, 0.5);
}

TEST(Bootstrap, WholeClustersAreDrawn) {
  // 4 clusters of 25 equal items: items drawn singly would give a standard error 5 times too small.
  std::vector<double> x;
  std::vector<std::string> clusters;
  for (int c = 0; c < 4; ++c) {
    for (int i = 0; i < 25; ++i) x.push_back(c % 2), clusters.push_back(std::to_string(c));
  }
  const Interval clustered = bootstrap_mean(x, clusters, 0.95, 2000, 1);
  const Interval single = bootstrap_mean(x, own_clusters(x.size()), 0.95, 2000, 1);
  EXPECT_GT(clustered.high - clustered.low, 3.0 * (single.high - single.low));
}

TEST(PairedBootstrap, PairingRemovesWhatItemsShare) {
  // Items differ widely, the systems by exactly 0.1 on each: what is left is one unseen item, 1.96 * 0.1 / 30.
  std::vector<double> a;
  std::vector<double> b;
  for (int i = 0; i < 30; ++i) {
    b.push_back(i);
    a.push_back(i - 0.1);
  }
  const PairedDifference d = paired_bootstrap(a, b, own_clusters(30), 0.95, 500, 1);
  EXPECT_NEAR(d.mean, -0.1, 1e-12);
  EXPECT_NEAR(d.low, -0.1 - 0.00653321, 1e-7);
  EXPECT_NEAR(d.high, -0.1 + 0.00653321, 1e-7);
  EXPECT_DOUBLE_EQ(d.p_worse, 1.0);
}

TEST(PairedBootstrap, NoDifferenceAmongItemsIsNotCertainty) {
  // Clopper and Pearson 1934: none of 10 gives an upper 97.5 % limit of 0.3085 for the share.
  const std::vector<double> x(10, 40.0);
  const PairedDifference d = paired_bootstrap(x, x, own_clusters(10), 0.95, 100, 1);
  EXPECT_NEAR(d.high, 30.85, 0.005);
  EXPECT_DOUBLE_EQ(d.low, -d.high);
  EXPECT_DOUBLE_EQ(d.mean, 0.0);
}

TEST(PairedBootstrap, OneClusterSaysNothingOfOthers) {
  const std::vector<double> a = {0, 50, 100};
  const std::vector<double> b = {10, 50, 100};
  const PairedDifference d = paired_bootstrap(a, b, std::vector<std::string>(3, "only"), 0.95, 100, 1);
  EXPECT_DOUBLE_EQ(d.low, -kScoreRange);
  EXPECT_DOUBLE_EQ(d.high, kScoreRange);
}

TEST(PairedBootstrap, ShareOfResamplesBelowZeroIsThatOfAllEnumerated) {
  // Differences 3, -1, -1 in three clusters: of the 27 equally likely resamples those with 2 or 3 times "3" and those
  // with it once (3 - 1 - 1 = 1 > 0) are above 0, so only the 8 without it are below.
  const std::vector<double> a = {3, -1, -1};
  const std::vector<double> zero(3, 0.0);
  const PairedDifference d = paired_bootstrap(a, zero, own_clusters(3), 0.95, 200000, 5);
  EXPECT_NEAR(d.p_worse, 8.0 / 27.0, 0.004);
}

TEST(PairedBootstrap, RefusesUnequalEmptyAndSillyArguments) {
  const std::vector<double> two = {1, 2};
  const std::vector<double> one = {1};
  EXPECT_THROW(paired_bootstrap(two, one, own_clusters(2), 0.95, 10, 1), Error);
  EXPECT_THROW(paired_bootstrap({}, {}, {}, 0.95, 10, 1), Error);
  EXPECT_THROW(paired_bootstrap(two, two, own_clusters(1), 0.95, 10, 1), Error);
  EXPECT_THROW(bootstrap_mean(two, own_clusters(2), 1.0, 10, 1), Error);
  EXPECT_THROW(bootstrap_mean(two, own_clusters(2), std::nan(""), 10, 1), Error);
  EXPECT_THROW(bootstrap_mean(two, own_clusters(2), 0.9, 0, 1), Error);
}

}  // namespace
}  // namespace thimble
