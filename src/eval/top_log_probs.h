// A prediction cut to its most probable tokens plus the mass of all others, and what that leaves of a KL divergence.
//
// The k tokens and "any other" are k + 1 outcomes. Merging outcomes never makes a divergence larger (the log-sum
// inequality; Cover and Thomas, Elements of Information Theory, theorem 2.7.1), so the truncated value is a lower
// bound:
//   KL(p || q) = truncated + tail * KL(p within the tail || q within the tail),
// and exact where the tail is empty or both models divide it alike.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace thimble {

/// Tokens kept of each prediction: half a kilobyte a token of answer, and with a sharp model a tail of a few
/// thousandths.
constexpr size_t kTopTokens = 64;

/// Most probable tokens of a prediction, falling; ties to the lowest id.
struct TopRow {
  std::span<const TokenId> ids;  // [k]
  std::span<const float> log_p;  // [k] natural logarithms
  float tail = 0;                // mass of all other tokens, 0..1
};

/// Works on rows of logits; used by one thread at a time.
class TopLogProbs {
 public:
  /// Appends the min(k, n_vocab) most probable tokens of `logits` [n_vocab] to ids and log_p. Gives the tail.
  float take(std::span<const float> logits, size_t k, std::vector<TokenId>& ids, std::vector<float>& log_p);

  /// Truncated KL(p || q) in nats, q given by its logits [n_vocab]; ids are in range. Never negative; exactly 0 for the
  /// logits that p was taken from.
  double divergence(const TopRow& p, std::span<const float> logits);

 private:
  float tail_of(std::span<const float> logits, std::span<const TokenId> ids, double normaliser);
  std::vector<TokenId> order_;  // [n_vocab]
  std::vector<float> rest_;     // [n_vocab]
};

}  // namespace thimble
