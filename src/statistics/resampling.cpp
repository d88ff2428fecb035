// Sums over clusters.
#include "statistics/resampling.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

namespace thimble {

std::vector<size_t> cluster_indices(std::span<const std::string> names) {
  std::unordered_map<std::string_view, size_t> index;
  std::vector<size_t> out;
  out.reserve(names.size());
  for (const std::string& name : names) out.push_back(index.emplace(name, index.size()).first->second);
  return out;
}

std::vector<ClusterSum> sum_clusters(std::span<const double> x, std::span<const std::string> names) {
  const std::vector<size_t> index = cluster_indices(names);
  std::vector<ClusterSum> clusters;
  for (size_t i = 0; i < x.size(); ++i) {
    if (index[i] == clusters.size()) clusters.emplace_back();
    clusters[index[i]].sum += x[i];
    clusters[index[i]].count += 1;
  }
  return clusters;
}

ClusterSpread cluster_spread(std::span<const ClusterSum> clusters) noexcept {
  if (clusters.size() < 2) return {};
  ClusterSum total;
  for (const ClusterSum& c : clusters) {
    total.sum += c.sum;
    total.count += c.count;
  }
  const double mean = total.sum / total.count;
  double squares = 0, cubes = 0;
  for (const ClusterSum& c : clusters) {
    const double residual = c.sum - mean * c.count;
    squares += residual * residual;
    cubes += residual * residual * residual;
  }
  const auto k = static_cast<double>(clusters.size());
  if (squares <= 0) return {};
  return {std::sqrt(squares * k / (k - 1)) / total.count, cubes / std::pow(squares, 1.5)};
}

double sorted_quantile(std::span<const double> sorted, double share) noexcept {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace thimble
