// What every resampling of clusters shares: the sums of one cluster, so that a resample costs as many steps as there
// are clusters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"

namespace thimble {

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
