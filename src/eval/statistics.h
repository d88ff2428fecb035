// Paired statistics: items are paired by id, clusters are resampled.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace thimble {

struct PairedDifference {
  double mean = 0;           // mean of a - b
  double low = 0, high = 0;  // percentile interval of the mean difference
  double p_worse = 0;        // share of resamples with a - b < 0
};

/// Cluster bootstrap of mean(a - b). a, b, clusters [n]. Deterministic for a seed. Koehn 2004, clusters as in Miller
/// 2024 (arXiv 2411.00640). `confidence` in (0, 1), for example 0.95.
PairedDifference paired_bootstrap(std::span<const double> a, std::span<const double> b,
                                  std::span<const std::string> clusters, double confidence, int resamples,
                                  uint64_t seed);

struct Interval {
  double mean = 0, low = 0, high = 0;
};
/// Cluster bootstrap of a mean.
Interval bootstrap_mean(std::span<const double> x, std::span<const std::string> clusters, double confidence,
                        int resamples, uint64_t seed);

}  // namespace thimble
