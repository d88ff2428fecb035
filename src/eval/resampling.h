// What every resampling of clusters shares: the random sequence and the sums of one cluster, so that a resample costs
// as many steps as there are clusters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace thimble {

/// SplitMix64 (Steele, Lea and Flood 2014): the sequence is fixed here, so the same data give the same interval
/// everywhere.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) noexcept : state_(seed) {}
  uint64_t next() noexcept {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, n), n < 2^32; the bias of the multiplication method is below 2^-32 * n.
  size_t below(size_t n) noexcept { return static_cast<size_t>(((next() >> 32) * static_cast<uint64_t>(n)) >> 32); }

 private:
  uint64_t state_;
};

struct ClusterSum {
  double sum = 0;
  double count = 0;
};

/// Sums of x by cluster, in order of first appearance. x, names [n].
std::vector<ClusterSum> sum_clusters(std::span<const double> x, std::span<const std::string> names);

/// Index of each item's cluster, numbered in order of first appearance. names [n].
std::vector<size_t> cluster_indices(std::span<const std::string> names);

/// Spread of a mean over clusters.
struct ClusterSpread {
  double standard_error = 0;
  double skewness = 0;  // sum r^3 / (sum r^2)^1.5 over the residuals r of the clusters: skewness / sqrt(k)
};

/// Standard error of the mean over all items when clusters, not items, are independent: residuals of the clusters about
/// the common mean with the factor k/(k-1) (Liang and Zeger 1986, as in Miller 2024, arXiv 2411.00640). 0 for one
/// cluster.
ClusterSpread cluster_spread(std::span<const ClusterSum> clusters) noexcept;

/// Linear interpolation between order statistics; `share` in 0..1, `sorted` not empty.
double sorted_quantile(std::span<const double> sorted, double share) noexcept;

}  // namespace thimble
