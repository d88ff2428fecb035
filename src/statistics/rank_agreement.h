// How well one number per candidate (perplexity, KL divergence) predicts the order of candidates by task score.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "statistics/statistics.h"

namespace thimble {

/// How often two orders disagree among pairs that neither leaves tied.
struct Disagreement {
  int64_t pairs = 0;     // that both orders decide
  int64_t tied = 0;      // left out: equal in one of them
  int64_t disagree = 0;  // of `pairs`
  double rate = 0;       // disagree / pairs; 0 without pairs
  double low = 0, high = 0;
};

struct RankAgreement {
  Disagreement all;          // every pair of candidates
  Disagreement significant;  // pairs whose scores differ with p <= 1 - confidence by sign flips
  double tau_b = 0;          // Kendall 1945, of -loss against score: 1 when the orders are the same; 0 when undefined
  double tau_low = 0, tau_high = 0;
};

struct RankSettings {
  double confidence = 0.95;
  int resamples = 10000;
  uint64_t seed = 0;
};

/// `loss` [n]: smaller should mean better. `scores` [n][items]: points of each candidate on the same items; `clusters`
/// [items]. Intervals are percentiles over resampled clusters of items; losses stay as they are (their own noise is
/// that of the text), and so does the set of significant pairs; where no pair or every pair disagrees they reach at
/// least to the exact binomial bound for that many pairs. Errors: invalid_argument for lengths that do not match.
RankAgreement rank_agreement(std::span<const double> loss, std::span<const std::vector<double>> scores,
                             std::span<const std::string> clusters, const RankSettings& settings);

/// Kendall's tau-b of two series [n]; 0 when one of them is constant.
double kendall_tau_b(std::span<const double> x, std::span<const double> y);

}  // namespace thimble
