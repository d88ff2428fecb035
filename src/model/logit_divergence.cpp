// Sums in double: a divergence of 1e-4 is the difference of terms near 10.
#include "model/logit_divergence.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace thimble {

double log_normaliser(std::span<const float> logits) noexcept {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float l : logits) sum += static_cast<double>(std::exp(l - largest));
  return largest + std::log(sum);
}

double divergence(std::span<const float> log_p, std::span<const float> logits, double normaliser) noexcept {
  double sum = 0;
  for (size_t i = 0; i < log_p.size(); ++i) {
    const double log_q = logits[i] - normaliser;
    sum += static_cast<double>(std::exp(log_p[i])) * (log_p[i] - log_q);
  }
  return std::max(sum, 0.0);
}

double kl_divergence(std::span<const float> reference_logits, std::span<const float> logits) {
  if (reference_logits.size() != logits.size() || logits.empty()) {
    fail(ErrorCode::invalid_argument, "KL divergence: found rows of {} and {} logits, expected equal numbers",
         reference_logits.size(), logits.size());
  }
  const double normaliser = log_normaliser(reference_logits);
  std::vector<float> log_p;
  log_p.reserve(logits.size());
  for (const float l : reference_logits) log_p.push_back(static_cast<float>(l - normaliser));
  return divergence(log_p, logits, log_normaliser(logits));
}

}  // namespace thimble
