#include "statistics/rank_agreement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "statistics/test_clusters.h"

namespace thimble {
namespace {

RankSettings few_resamples() {
  RankSettings s;
  s.resamples = 300;
  return s;
}

// The example of scipy.stats.kendalltau's documentation: -0.47140452079103173.
TEST(KendallTauB, SciPysExample) {
  const std::vector<double> x = {12, 2, 1, 12, 2};
  const std::vector<double> y = {1, 4, 7, 1, 0};
  EXPECT_NEAR(kendall_tau_b(x, y), -0.47140452079103173, 1e-12);
  EXPECT_EQ(kendall_tau_b(x, std::vector<double>(5, 3.0)), 0.0);
  EXPECT_THROW(kendall_tau_b(x, std::vector<double>(4, 3.0)), Error);
}

// `right` items of 100 score 100 points.
std::vector<double> scores(size_t right) {
  std::vector<double> out(100, 0.0);
  std::fill_n(out.begin(), right, 100.0);
  return out;
}

TEST(RankAgreement, CountsPairsTiesAndWhatIsSignificant) {
  const std::vector<double> loss = {1.0, 2.0, 3.0, 3.0};
  // By loss 0 < 1 < 2 = 3; by score 1 > 0 > 2 > 3. Pairs: (0,1) disagrees, (2,3) is tied by loss, four agree.
  const std::vector<std::vector<double>> rows = {scores(80), scores(81), scores(60), scores(40)};
  const RankAgreement r = rank_agreement(loss, rows, own_clusters(100), few_resamples());
  EXPECT_EQ(r.all.pairs, 5);
  EXPECT_EQ(r.all.tied, 1);
  EXPECT_EQ(r.all.disagree, 1);
  EXPECT_DOUBLE_EQ(r.all.rate, 0.2);
  EXPECT_LE(r.all.low, 0.2);
  EXPECT_GE(r.all.high, 0.2);
  EXPECT_EQ(r.significant.pairs, 4) << "one item of 100 is no significant difference";
  EXPECT_EQ(r.significant.disagree, 0);
  EXPECT_NEAR(r.significant.high, 0.6024, 5e-5) << "Clopper and Pearson: none of 4 at 97.5 %";
  // 4 concordant, 1 discordant, one tie in x: 3 / sqrt(5 * 6).
  EXPECT_NEAR(r.tau_b, 3.0 / std::sqrt(30.0), 1e-12);
  EXPECT_LE(r.tau_low, r.tau_b);
  EXPECT_GE(r.tau_high, r.tau_b);
}

TEST(RankAgreement, AReversedOrderDisagreesAlways) {
  const std::vector<double> loss = {1, 2, 3};
  const std::vector<std::vector<double>> rows = {scores(20), scores(50), scores(90)};
  const RankAgreement r = rank_agreement(loss, rows, own_clusters(100), few_resamples());
  EXPECT_DOUBLE_EQ(r.all.rate, 1.0);
  EXPECT_DOUBLE_EQ(r.significant.rate, 1.0);
  EXPECT_DOUBLE_EQ(r.tau_b, -1.0);
}

TEST(RankAgreement, FewerThanTwoCandidatesHaveNoPairs) {
  EXPECT_EQ(rank_agreement({}, {}, own_clusters(3), few_resamples()).all.pairs, 0);
  const std::vector<double> loss = {1};
  const std::vector<std::vector<double>> rows = {scores(20)};
  EXPECT_EQ(rank_agreement(loss, rows, own_clusters(100), few_resamples()).all.pairs, 0);
  EXPECT_THROW(rank_agreement(loss, rows, own_clusters(99), few_resamples()), Error);
  EXPECT_THROW(rank_agreement({}, rows, own_clusters(100), few_resamples()), Error);
}

}  // namespace
}  // namespace thimble
