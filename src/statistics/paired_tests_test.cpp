#include "statistics/paired_tests.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "statistics/distributions.h"
#include "statistics/statistics.h"
#include "statistics/test_clusters.h"

namespace thimble {
namespace {

PairedSample sample_of(const std::vector<double>& difference) {
  return paired_sample(difference, std::vector<double>(difference.size(), 0.0), own_clusters(difference.size()));
}

// Printed tables: Fisher and Yates 1963, table III (t); Abramowitz and Stegun 1964, table 26.5 (normal).
TEST(Distributions, QuantilesAreThoseOfPrintedTables) {
  EXPECT_NEAR(student_t_quantile(0.975, 1), 12.706, 5e-4);
  EXPECT_NEAR(student_t_quantile(0.975, 6), 2.447, 5e-4);
  EXPECT_NEAR(student_t_quantile(0.995, 10), 3.169, 5e-4);
  EXPECT_NEAR(student_t_quantile(0.95, 30), 1.697, 5e-4);
  EXPECT_NEAR(student_t_quantile(0.025, 120), -1.980, 5e-4);
  EXPECT_NEAR(normal_quantile(0.975), 1.959963985, 1e-8);
  EXPECT_NEAR(normal_cdf(-1.0), 0.158655254, 1e-9);
  EXPECT_NEAR(student_t_cdf(0.0, 3.5), 0.5, 1e-12);
  EXPECT_NEAR(student_t_cdf(1.0, 1.0), 0.75, 1e-12) << "Cauchy: 1/2 + atan(1)/pi";
  EXPECT_NEAR(binomial_half_cdf(1, 10), 11.0 / 1024.0, 1e-12);
  EXPECT_EQ(binomial_half_cdf(-1, 10), 0.0);
}

// Darwin's pairs of maize in eighths of an inch: Fisher 1935, The Design of Experiments, sections 17 and 21: t = 2.148,
// and 1,726 of the 32,768 sign combinations have a sum of at least 314 on either side (5.267 %).
TEST(SignFlip, FishersMaize) {
  const std::vector<double> maize = {49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48};
  const PairedSample s = sample_of(maize);
  EXPECT_DOUBLE_EQ(sign_flip_p(s, 1, 1), 1726.0 / 32768.0);
  EXPECT_NEAR(s.mean / s.standard_error, 2.148, 5e-4);
}

TEST(SignFlip, RandomFlipsAgreeWithAllFlips) {
  // 18 clusters are beyond the exact limit; by symmetry of equal sizes p is binomial: 13 or more heads or tails of 18.
  std::vector<double> d(18, 1.0);
  for (size_t i = 0; i < 5; ++i) d[i] = -1.0;
  const double exact = 2.0 * binomial_half_cdf(5, 18);
  EXPECT_NEAR(sign_flip_p(sample_of(d), 40000, 3), exact, 0.006);
  EXPECT_EQ(sign_flip_p(sample_of(d), 500, 3), sign_flip_p(sample_of(d), 500, 3));
}

TEST(SignFlip, WholeClustersFlipAndTheSmallestPFollows) {
  const std::vector<double> a(30, 1.0);
  const std::vector<double> b(30, 0.0);
  std::vector<std::string> clusters;
  for (int i = 0; i < 30; ++i) clusters.push_back(std::to_string(i % 3));
  const PairedSample s = paired_sample(a, b, clusters);
  EXPECT_EQ(s.n_clusters, 3u);
  EXPECT_DOUBLE_EQ(sign_flip_p(s, 100, 1), 0.25) << "two of eight combinations";
  EXPECT_DOUBLE_EQ(sign_flip_p(sample_of({0, 0, 0}), 100, 1), 1.0);
}

TEST(McNemar, CountsFlipsAndGivesTheExactBinomial) {
  const std::vector<double> b = {100, 100, 100, 100, 0, 0, 80, 20};
  const std::vector<double> a = {0, 0, 0, 100, 100, 0, 60, 40};
  const Flips f = mcnemar(a, b, 50);
  EXPECT_EQ(f.lost, 3);
  EXPECT_EQ(f.gained, 1);
  EXPECT_DOUBLE_EQ(f.p, 10.0 / 16.0);  // 2 (1 + 4) / 2^4
  EXPECT_NEAR(mcnemar_p(9, 1), 22.0 / 1024.0, 1e-12);
  EXPECT_DOUBLE_EQ(mcnemar_p(0, 0), 1.0);
  EXPECT_DOUBLE_EQ(mcnemar_p(4, 4), 1.0);
}

// Holm 1979 by hand: sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling.
TEST(Holm, MultipliesStepByStep) {
  const std::vector<double> adjusted = holm(std::vector<double>{0.01, 0.04, 0.03, 0.005});
  EXPECT_NEAR(adjusted[0], 0.03, 1e-12);
  EXPECT_NEAR(adjusted[1], 0.06, 1e-12);
  EXPECT_NEAR(adjusted[2], 0.06, 1e-12);
  EXPECT_NEAR(adjusted[3], 0.02, 1e-12);
  EXPECT_EQ(holm(std::vector<double>{0.9, 0.8}), (std::vector<double>{1.0, 1.0}));
  EXPECT_TRUE(holm({}).empty());
}

TEST(Margins, PIsThatOfTTestWithTheUnseenItem) {
  const std::vector<double> d = {-1, 0, 2, 1, 0, -2, 1, -1, 2, -2};
  const PairedSample s = sample_of(d);
  EXPECT_NEAR(s.mean, 0.0, 1e-12);
  EXPECT_NEAR(s.skewness, 0.0, 1e-12);
  const double t = 1.0 / std::hypot(s.standard_error, 2.0 / 10.0);
  EXPECT_NEAR(p_above(s, -1.0), 1 - student_t_cdf(t, 9), 1e-9);
  EXPECT_NEAR(p_below(s, -1.0), student_t_cdf(t, 9), 1e-9);
  EXPECT_NEAR(p_above(s, 0.0), 0.5, 1e-12);
}

TEST(Margins, ATailOfLossesWeakensTheClaimThatNothingIsLost) {
  std::vector<double> d(40, 0.0);
  for (size_t i = 0; i < 5; ++i) d[i] = -4.0 * static_cast<double>(i);
  PairedSample s = sample_of(d);
  EXPECT_LT(s.skewness, -0.3);
  const double skewed = p_above(s, -3.0);
  const double mirrored = p_below(s, 1.0);  // as far away on the side where the tail does no harm
  s.skewness = 0;
  EXPECT_GT(skewed, 2 * p_above(s, -3.0));
  EXPECT_DOUBLE_EQ(mirrored, p_below(s, 1.0));
}

TEST(Margins, NoDifferenceMeansTheRuleOfThree) {
  // Hanley and Lippman-Hand 1983: with none among 300 a share of 1 % is refused at 5 %, with none among 298 it is not.
  EXPECT_LT(p_above(sample_of(std::vector<double>(300, 0.0)), -1.0), 0.05);
  EXPECT_GT(p_above(sample_of(std::vector<double>(297, 0.0)), -1.0), 0.05);
  EXPECT_EQ(p_above(sample_of(std::vector<double>(300, 0.0)), 0.0), 1.0);
  EXPECT_EQ(p_below(sample_of(std::vector<double>(300, 0.0)), -1.0), 1.0);
  const std::vector<std::string> one(3, "only");
  EXPECT_EQ(p_above(paired_sample(std::vector<double>{1, 2, 3}, std::vector<double>{0, 0, 0}, one), -50), 1.0);
}

TEST(Power, DetectableDifferenceIsBloomsMultipleOfTheStandardError) {
  // Bloom 1995, table 1: 2.80 standard errors for 80 % power at 5 % two-sided with many degrees of freedom.
  std::vector<double> d;
  for (int i = 0; i < 4000; ++i) d.push_back(i % 2 == 0 ? 1.0 : -1.0);
  const PairedSample s = sample_of(d);
  EXPECT_NEAR(detectable_difference(s, 0.05, 0.8) / s.standard_error, 2.80, 0.005);
}

TEST(Power, ItemsToDecideDecideAndOneFewerDoesNot) {
  std::vector<double> d;
  for (int i = 0; i < 100; ++i) d.push_back(i % 10 == 0 ? (i % 20 == 0 ? -20.0 : 20.0) : 0.0);
  const PairedSample s = sample_of(d);  // mean 0, standard error 0.64
  const auto n = items_to_decide(s, -1.0, 0.025, 0.8);
  ASSERT_TRUE(n.has_value());
  // (1.96 + 0.84)^2 (6.36 / 1)^2 = 317 items but for the t and the unseen item.
  EXPECT_NEAR(static_cast<double>(*n), 317.0, 12.0);
  EXPECT_EQ(items_to_decide(s, -50.0, 0.025, 0.8), 100);
  EXPECT_FALSE(items_to_decide(s, 0.0, 0.025, 0.8).has_value());
  // Without any difference: the smallest n with 0.99^n <= 0.025.
  EXPECT_EQ(items_to_decide(sample_of(std::vector<double>(100, 0.0)), -1.0, 0.025, 0.8), 368);
}

TEST(PairedSample, RefusesWhatDoesNotMatch) {
  const std::vector<double> two = {1, 2};
  EXPECT_THROW(paired_sample(two, std::vector<double>{1}, own_clusters(2)), Error);
  EXPECT_THROW(paired_sample(two, two, own_clusters(1)), Error);
  EXPECT_THROW(paired_sample({}, {}, {}), Error);
}

}  // namespace
}  // namespace thimble
