// Both sides of a divergence are rounded to floats in the same way, so that a model does not differ from itself.
#include "eval/top_log_probs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "model/logit_divergence.h"

namespace thimble {

// Summed on its own: one minus the sum of the others would be noise where the tail is small.
float TopLogProbs::tail_of(std::span<const float> logits, std::span<const TokenId> ids, double normaliser) {
  rest_.assign(logits.begin(), logits.end());
  for (const TokenId id : ids) rest_[static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity();
  double sum = 0;
  for (const float l : rest_) sum += static_cast<double>(std::exp(static_cast<float>(l - normaliser)));
  return static_cast<float>(std::min(sum, 1.0));
}

float TopLogProbs::take(std::span<const float> logits, size_t k, std::vector<TokenId>& ids, std::vector<float>& log_p) {
  k = std::min(k, logits.size());
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), TokenId{0});
  const auto middle = order_.begin() + static_cast<std::ptrdiff_t>(k);
  std::partial_sort(order_.begin(), middle, order_.end(), [&](TokenId a, TokenId b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  });
  const double normaliser = log_normaliser(logits);
  const std::span<const TokenId> top = std::span(order_).first(k);
  ids.insert(ids.end(), top.begin(), top.end());
  for (const TokenId id : top) log_p.push_back(static_cast<float>(logits[static_cast<size_t>(id)] - normaliser));
  return tail_of(logits, top, normaliser);
}

double TopLogProbs::divergence(const TopRow& p, std::span<const float> logits) {
  const double normaliser = log_normaliser(logits);
  double sum = 0;
  for (size_t i = 0; i < p.ids.size(); ++i) {
    const auto log_q = static_cast<float>(logits[static_cast<size_t>(p.ids[i])] - normaliser);
    sum += std::exp(static_cast<double>(p.log_p[i])) * (static_cast<double>(p.log_p[i]) - static_cast<double>(log_q));
  }
  if (p.tail > 0) {
    // A tail that vanishes in floats is taken for the smallest one: the value stays a lower bound.
    const float q_tail = std::max(tail_of(logits, p.ids, normaliser), std::numeric_limits<float>::min());
    sum +=
        static_cast<double>(p.tail) * (std::log(static_cast<double>(p.tail)) - std::log(static_cast<double>(q_tail)));
  }
  return std::max(sum, 0.0);
}

}  // namespace thimble
