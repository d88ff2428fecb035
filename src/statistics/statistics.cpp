// Cluster bootstrap over sums and counts per cluster.
#include "statistics/statistics.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "statistics/distributions.h"
#include "statistics/resampling.h"

namespace thimble {

namespace {

// Sorted means of the resamples.
std::vector<double> resample(const std::vector<ClusterSum>& clusters, int resamples, uint64_t seed) {
  SplitMix64 generator(seed);
  std::vector<double> means(static_cast<size_t>(resamples));
  for (double& mean : means) {
    ClusterSum total;
    for (size_t k = 0; k < clusters.size(); ++k) {
      const ClusterSum& drawn = clusters[generator.below(clusters.size())];
      total.sum += drawn.sum;
      total.count += drawn.count;
    }
    mean = total.sum / total.count;
  }
  std::sort(means.begin(), means.end());
  return means;
}

// Share below the lower end: what a t interval with k-1 degrees of freedom would take of a normal distribution whose
// variance lacks the factor k/(k-1), as that of resampled means does.
double expanded_tail(double confidence, size_t n_clusters) noexcept {
  const auto k = static_cast<double>(n_clusters);
  const double t = student_t_quantile((1.0 - confidence) / 2.0, k - 1);
  return normal_cdf(t * std::sqrt(k / (k - 1)));
}

void check_arguments(size_t n, size_t n_clusters, double confidence, int resamples) {
  if (n == 0) fail(ErrorCode::invalid_argument, "bootstrap: found no items, expected at least one");
  if (n != n_clusters) {
    fail(ErrorCode::invalid_argument, "bootstrap: found {} clusters for {} items, expected one each", n_clusters, n);
  }
  if (!(confidence > 0.0 && confidence < 1.0)) {
    fail(ErrorCode::invalid_argument, "bootstrap: found confidence {}, expected a value between 0 and 1", confidence);
  }
  if (resamples < 1) fail(ErrorCode::invalid_argument, "bootstrap: found {} resamples, expected 1 or more", resamples);
}

double mean_of(std::span<const double> x) noexcept {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}

double largest_of(std::span<const double> x) noexcept {
  double out = 0;
  for (const double v : x) out = std::max(out, std::abs(v));
  return out;
}

}  // namespace

PairedDifference paired_bootstrap(std::span<const double> a, std::span<const double> b,
                                  std::span<const std::string> clusters, double confidence, int resamples,
                                  uint64_t seed) {
  if (a.size() != b.size()) {
    fail(ErrorCode::invalid_argument, "paired bootstrap: found {} and {} items, expected equal numbers", a.size(),
         b.size());
  }
  check_arguments(a.size(), clusters.size(), confidence, resamples);
  std::vector<double> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  const auto n = static_cast<double>(a.size());
  PairedDifference out;
  out.mean = mean_of(difference);
  const double largest = largest_of(difference);
  if (largest == 0) {
    const double unseen = kScoreRange * (1.0 - std::pow((1.0 - confidence) / 2.0, 1.0 / n));
    out.low = -unseen;
    out.high = unseen;
    return out;
  }
  const std::vector<ClusterSum> sums = sum_clusters(difference, clusters);
  const std::vector<double> means = resample(sums, resamples, seed);
  const auto worse = std::lower_bound(means.begin(), means.end(), 0.0) - means.begin();
  out.p_worse = static_cast<double>(worse) / static_cast<double>(means.size());
  if (sums.size() < 2) {
    out.low = -kScoreRange;
    out.high = kScoreRange;
    return out;
  }
  const double tail = expanded_tail(confidence, sums.size());
  const double unseen = normal_quantile((1.0 + confidence) / 2.0) * largest / n;
  // Ends of a bootstrap lie on either side of the mean but for rounding.
  out.low = out.mean - std::hypot(std::max(0.0, out.mean - sorted_quantile(means, tail)), unseen);
  out.high = out.mean + std::hypot(std::max(0.0, sorted_quantile(means, 1.0 - tail) - out.mean), unseen);
  return out;
}

Interval bootstrap_mean(std::span<const double> x, std::span<const std::string> clusters, double confidence,
                        int resamples, uint64_t seed) {
  check_arguments(x.size(), clusters.size(), confidence, resamples);
  std::vector<ClusterSum> sums = sum_clusters(x, clusters);
  if (sums.size() == 1) {
    sums.clear();
    for (const double v : x) sums.push_back({v, 1});
  }
  const double mean = mean_of(x);
  if (sums.size() == 1) return {mean, mean, mean};
  const std::vector<double> means = resample(sums, resamples, seed);
  const double tail = expanded_tail(confidence, sums.size());
  return {mean, sorted_quantile(means, tail), sorted_quantile(means, 1.0 - tail)};
}

}  // namespace thimble
