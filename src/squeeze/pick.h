// From scores to a verdict: pure functions of finished candidates.
#pragma once

#include <span>
#include <string>

#include "squeeze/squeeze.h"

namespace thimble {

struct Choice {
  Verdict verdict = Verdict::nothing_fits;
  int picked = -1;
  std::string explanation;
};

/// Among candidates that keep the margin on every task: the smallest, and of those within half a percent of its size
/// the fastest; verdict "picked". Otherwise "cannot tell", and the smallest undecided one is taken whose measured loss
/// is within the margin on every task and that no larger candidate which does not lose beats with confidence (if none
/// is, the smallest undecided one at all); the explanation says how many more items would decide. Nothing undecided
/// left: nothing_fits, and the explanation says whether the device or the tasks refused.
Choice pick(const Candidate& baseline, std::span<const Candidate> candidates, const SqueezeOptions& options);

/// Compares, judges and picks, and fills what follows from the finished candidates of `result`: scores, differences,
/// standings, verdict, picked, explanation, order_agreement.
void conclude(SqueezeResult& result);

}  // namespace thimble
