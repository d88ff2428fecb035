// Tests of paired scores beside the bootstrap's intervals: is there a difference, is it larger than a margin, what
// could the data show at all, and how many items would settle the question. Scores in points, 0 to 100.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace thimble {

// Fixed, so that the same answers always give the same verdict. 10,000 resamples put the ends of a 95 % interval within
// about 2 % of its width.
constexpr int kResamples = 10000;
constexpr uint64_t kBootstrapSeed = 20240607;
constexpr double kPower = 0.8;        // of detectable differences and numbers of items
constexpr double kPassPoints = 50.0;  // an item passes with half of its points: 0/1 metrics by being right

/// Differences of paired scores as the tests need them; made once, asked often.
struct PairedSample {
  size_t n_items = 0;
  size_t n_clusters = 0;
  double mean = 0;            // of a - b
  double standard_error = 0;  // by cluster; 0 for one cluster or no difference
  double skewness = 0;        // sum r^3 / (sum r^2)^1.5 over the clusters' residuals r about the mean
  double largest = 0;         // |a - b| of the item that differs most
  std::vector<double> cluster_sums;
};

/// a, b, clusters [n]. Errors: invalid_argument for unequal lengths and for no items.
PairedSample paired_sample(std::span<const double> a, std::span<const double> b, std::span<const std::string> clusters);

/// Two-sided p of "no difference" by flipping the signs of whole clusters: every combination up to 16 clusters, beyond
/// that `resamples` random ones with p = (c + 1) / (resamples + 1) (Fisher 1935; "approximate randomization", Riezler
/// and Maxwell 2005; the added one: Phipson and Smyth 2010).
double sign_flip_p(const PairedSample& sample, int resamples, uint64_t seed);

/// One-sided p of H0 "a - b <= bound", small when the difference is certainly above. Student's t with k-1 degrees of
/// freedom on the cluster standard error, with the unseen item of paired_bootstrap, and corrected for skewness (Hall
/// 1992, J. R. Statist. Soc. B 54) where that weakens the evidence: few large losses among many small ones look better
/// than they are, and 9 of 100 false claims at 2.5 % were measured without it. Without any difference: the binomial
/// probability of seeing none among n items, were the loss as large as the bound. 1 for one cluster.
double p_above(const PairedSample& sample, double bound);
/// The mirror image: H0 "a - b >= bound".
double p_below(const PairedSample& sample, double bound);

struct Flips {
  int64_t lost = 0;    // items that b passes and a does not
  int64_t gained = 0;  // items that a passes and b does not
  double p = 1;        // exact two-sided McNemar (McNemar 1947; binomial of the discordant items with 1/2)
};
/// An item passes with at least `pass_points`. Items count as independent: clusters are not known to this test.
Flips mcnemar(std::span<const double> a, std::span<const double> b, double pass_points);
double mcnemar_p(int64_t lost, int64_t gained) noexcept;

/// p values adjusted for their number (Holm 1979), in the order given: reject where adjusted p <= alpha.
std::vector<double> holm(std::span<const double> p);

/// Smallest true difference that a two-sided test of level `alpha` would find with probability `power` on such data
/// (Bloom 1995: (t_{1-alpha/2} + t_{power}) standard errors), in points. kScoreRange for one cluster.
double detectable_difference(const PairedSample& sample, double alpha, double power);

/// Items in all, of the same kind and in clusters of the same sizes, after which a one-sided test of level `alpha`
/// tells with probability `power` on which side of `bound` the difference is, if it is as large as measured. Empty when
/// that is more than a million, or when there is one cluster. At least the present number.
std::optional<int64_t> items_to_decide(const PairedSample& sample, double bound, double alpha, double power);

}  // namespace thimble
