// How far the prediction of one model is from another's: Kullback-Leibler divergence of rows of logits.
#pragma once

#include <span>

namespace thimble {

/// log of the sum of exp(logits), in nats: what turns a logit into a log probability. `logits` is not empty.
double log_normaliser(std::span<const float> logits) noexcept;

/// KL(p || q) in nats, from p's log probabilities [n_vocab] and q's logits [n_vocab] with their log_normaliser().
/// Never negative: rounding can make the sum a hair so where p and q are equal.
double divergence(std::span<const float> log_p, std::span<const float> logits, double normaliser) noexcept;

/// KL(p || q) in nats of two logit rows. Errors: invalid_argument when they are empty or differ in length.
double kl_divergence(std::span<const float> reference_logits, std::span<const float> logits);

}  // namespace thimble
