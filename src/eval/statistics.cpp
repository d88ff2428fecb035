// Cluster bootstrap over sums and counts per cluster, so that one resample costs as many steps as there are clusters.
#include "eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include "base/error.h"

namespace thimble {

namespace {

// SplitMix64 (Steele, Lea and Flood 2014): the sequence is fixed here, so the same data give the same interval
// everywhere.
class Generator {
 public:
  explicit Generator(uint64_t seed) noexcept : state_(seed) {}
  /// Uniform in [0, n), n < 2^32; the bias of the multiplication method is below 2^-32 * n.
  size_t below(size_t n) noexcept { return static_cast<size_t>(((next() >> 32) * static_cast<uint64_t>(n)) >> 32); }

 private:
  uint64_t next() noexcept {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

struct Cluster {
  double sum = 0;
  double count = 0;
};

std::vector<Cluster> sum_clusters(std::span<const double> x, std::span<const std::string> names) {
  std::vector<Cluster> clusters;
  std::unordered_map<std::string_view, size_t> index;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto [it, is_new] = index.emplace(names[i], clusters.size());
    if (is_new) clusters.emplace_back();
    clusters[it->second].sum += x[i];
    clusters[it->second].count += 1;
  }
  return clusters;
}

// Sorted means of the resamples.
std::vector<double> resample(const std::vector<Cluster>& clusters, int resamples, uint64_t seed) {
  Generator generator(seed);
  std::vector<double> means(static_cast<size_t>(resamples));
  for (double& mean : means) {
    Cluster total;
    for (size_t k = 0; k < clusters.size(); ++k) {
      const Cluster& drawn = clusters[generator.below(clusters.size())];
      total.sum += drawn.sum;
      total.count += drawn.count;
    }
    mean = total.sum / total.count;
  }
  std::sort(means.begin(), means.end());
  return means;
}

double quantile(const std::vector<double>& sorted, double share) noexcept {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
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
  const std::vector<double> means = resample(sum_clusters(difference, clusters), resamples, seed);
  PairedDifference out;
  out.mean = mean_of(difference);
  out.low = quantile(means, (1.0 - confidence) / 2.0);
  out.high = quantile(means, (1.0 + confidence) / 2.0);
  const auto worse = std::lower_bound(means.begin(), means.end(), 0.0) - means.begin();
  out.p_worse = static_cast<double>(worse) / static_cast<double>(means.size());
  return out;
}

Interval bootstrap_mean(std::span<const double> x, std::span<const std::string> clusters, double confidence,
                        int resamples, uint64_t seed) {
  check_arguments(x.size(), clusters.size(), confidence, resamples);
  const std::vector<double> means = resample(sum_clusters(x, clusters), resamples, seed);
  return {mean_of(x), quantile(means, (1.0 - confidence) / 2.0), quantile(means, (1.0 + confidence) / 2.0)};
}

}  // namespace thimble
