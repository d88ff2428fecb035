// From scores to a verdict: pure functions of finished candidates.
#pragma once

#include <span>
#include <string>

#include "squeeze/squeeze.h"

namespace thimble {

// Fixed, so that the same answers always give the same verdict. 10,000 resamples put the ends of a 95 % interval within
// about 2 % of its width.
constexpr int kResamples = 10000;
constexpr uint64_t kBootstrapSeed = 20240607;

/// Fills score, against_float, task_differences and standing of `candidate` from its and the float model's item scores.
void compare_with_float(Candidate& candidate, const Candidate& baseline, double margin, double confidence);

struct Choice {
  Verdict verdict = Verdict::nothing_fits;
  int picked = -1;
  std::string explanation;
};

/// Smallest candidate first: one that keeps the margin on every task is picked. One whose intervals reach over the
/// margin is taken, with verdict cannot_tell, unless a larger candidate that is not worse than the margin beats it with
/// confidence on some task. Nothing left: nothing_fits, and the explanation says whether the device or the tasks
/// refused.
Choice pick(const Candidate& baseline, std::span<const Candidate> candidates, const SqueezeOptions& options);

}  // namespace thimble
