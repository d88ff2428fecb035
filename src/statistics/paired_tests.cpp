// Paired tests on sums of clusters.
#include "statistics/paired_tests.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "statistics/distributions.h"
#include "statistics/resampling.h"
#include "statistics/statistics.h"

namespace thimble {

namespace {

constexpr size_t kMaxExactClusters = 16;  // 65,536 combinations
constexpr int64_t kMaxItemsWorthNaming = 1'000'000;

// Standard error of a mean with the unseen item of paired_bootstrap among `n` items like those of the sample.
double error_with_unseen(const PairedSample& s, double n) noexcept {
  return std::hypot(s.standard_error * std::sqrt(static_cast<double>(s.n_items) / n), s.largest / n);
}

// Share of sign combinations whose sum is at least as far from 0. The first sign stays: its flip mirrors the rest.
double exact_sign_flip_p(const std::vector<double>& sums) {
  const size_t free = sums.size() - 1;
  double total = 0, size = 0;
  for (const double s : sums) {
    total += s;
    size += std::abs(s);
  }
  const double limit = std::abs(total) - 1e-9 * size;  // sums in another order round differently
  uint64_t extreme = 0;
  for (uint64_t signs = 0; signs < (uint64_t{1} << free); ++signs) {
    double sum = sums[0];
    for (size_t i = 0; i < free; ++i) sum += (signs >> i & 1) != 0 ? -sums[i + 1] : sums[i + 1];
    extreme += std::abs(sum) >= limit;
  }
  return static_cast<double>(extreme) / static_cast<double>(uint64_t{1} << free);
}

double random_sign_flip_p(const std::vector<double>& sums, int resamples, uint64_t seed) {
  SplitMix64 generator(seed);
  double total = 0, size = 0;
  for (const double s : sums) {
    total += s;
    size += std::abs(s);
  }
  const double limit = std::abs(total) - 1e-9 * size;
  int extreme = 0;
  for (int r = 0; r < resamples; ++r) {
    double sum = 0;
    uint64_t bits = 0;
    for (size_t i = 0; i < sums.size(); ++i) {
      if (i % 64 == 0) bits = generator.next();
      sum += (bits >> (i % 64) & 1) != 0 ? -sums[i] : sums[i];
    }
    extreme += std::abs(sum) >= limit;
  }
  return (extreme + 1.0) / (resamples + 1.0);
}

// How far the lower end of a one-sided interval of level alpha lies below the mean, with `n` items of the same kind.
double reach(const PairedSample& s, double alpha, double power, double n) {
  const double clusters = std::max(2.0, static_cast<double>(s.n_clusters) * n / static_cast<double>(s.n_items));
  const double df = clusters - 1;
  const double t = student_t_quantile(1 - alpha, df) + (power > 0 ? student_t_quantile(power, df) : 0.0);
  return t * error_with_unseen(s, n);
}

// Hall's monotone cubic: its distribution is closer to t's than that of t itself when the data are skewed.
double without_skewness(double t, double skewness) noexcept {
  return t + skewness * t * t / 3 + skewness * skewness * t * t * t / 27 + skewness / 6;
}

}  // namespace

PairedSample paired_sample(std::span<const double> a, std::span<const double> b,
                           std::span<const std::string> clusters) {
  if (a.empty()) fail(ErrorCode::invalid_argument, "paired test: found no items, expected at least one");
  if (a.size() != b.size() || a.size() != clusters.size()) {
    fail(ErrorCode::invalid_argument, "paired test: found {} and {} scores and {} clusters, expected equal numbers",
         a.size(), b.size(), clusters.size());
  }
  std::vector<double> difference(a.size());
  PairedSample out;
  for (size_t i = 0; i < a.size(); ++i) {
    difference[i] = a[i] - b[i];
    out.mean += difference[i] / static_cast<double>(a.size());
    out.largest = std::max(out.largest, std::abs(difference[i]));
  }
  const std::vector<ClusterSum> sums = sum_clusters(difference, clusters);
  out.n_items = a.size();
  out.n_clusters = sums.size();
  const ClusterSpread spread = cluster_spread(sums);
  out.standard_error = spread.standard_error;
  out.skewness = spread.skewness;
  for (const ClusterSum& c : sums) out.cluster_sums.push_back(c.sum);
  return out;
}

double sign_flip_p(const PairedSample& sample, int resamples, uint64_t seed) {
  std::vector<double> sums = sample.cluster_sums;
  std::erase(sums, 0.0);  // their sign changes nothing
  if (sums.empty()) return 1;
  return sums.size() <= kMaxExactClusters ? exact_sign_flip_p(sums) : random_sign_flip_p(sums, resamples, seed);
}

double p_above(const PairedSample& s, double bound) {
  const double distance = s.mean - bound;
  const auto n = static_cast<double>(s.n_items);
  if (s.largest == 0) {
    // Clopper and Pearson's bound for no event among n, solved for its level.
    if (distance <= 0) return 1;
    return std::pow(std::max(0.0, 1.0 - distance / kScoreRange), n);
  }
  if (s.n_clusters < 2) return 1;
  const auto df = static_cast<double>(s.n_clusters - 1);
  const double t = distance / error_with_unseen(s, n);
  return 1 - student_t_cdf(std::min(t, without_skewness(t, s.skewness)), df);
}

double p_below(const PairedSample& s, double bound) {
  PairedSample mirror = s;
  mirror.mean = -s.mean;
  mirror.skewness = -s.skewness;
  return p_above(mirror, -bound);
}

double mcnemar_p(int64_t lost, int64_t gained) noexcept {
  return std::min(1.0, 2.0 * binomial_half_cdf(std::min(lost, gained), lost + gained));
}

Flips mcnemar(std::span<const double> a, std::span<const double> b, double pass_points) {
  Flips out;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    out.lost += b[i] >= pass_points && a[i] < pass_points;
    out.gained += a[i] >= pass_points && b[i] < pass_points;
  }
  out.p = mcnemar_p(out.lost, out.gained);
  return out;
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) { return p[x] < p[y]; });
  std::vector<double> out(p.size());
  double running = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    running = std::max(running, p[order[rank]] * static_cast<double>(p.size() - rank));
    out[order[rank]] = std::min(1.0, running);
  }
  return out;
}

double detectable_difference(const PairedSample& s, double alpha, double power) {
  const auto n = static_cast<double>(s.n_items);
  if (s.largest == 0) return kScoreRange * (1.0 - std::pow(alpha / 2, 1.0 / n));
  if (s.n_clusters < 2) return kScoreRange;
  return std::min(kScoreRange, reach(s, alpha / 2, power, n));
}

std::optional<int64_t> items_to_decide(const PairedSample& s, double bound, double alpha, double power) {
  const double distance = std::abs(s.mean - bound);
  if (s.n_clusters < 2 || distance == 0) return std::nullopt;
  const auto decides = [&](int64_t n) {
    const auto items = static_cast<double>(n);
    if (s.largest == 0) return std::pow(std::max(0.0, 1.0 - distance / kScoreRange), items) <= alpha;
    return reach(s, alpha, power, items) <= distance;
  };
  auto low = static_cast<int64_t>(s.n_items);
  if (decides(low)) return low;
  int64_t high = low;
  while (!decides(high)) {
    low = high;
    high *= 2;
    if (high > kMaxItemsWorthNaming) return std::nullopt;
  }
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (decides(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace thimble
