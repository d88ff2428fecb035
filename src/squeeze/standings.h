// What the paired scores say of every candidate: comparisons with the float model, and whether it keeps the margin.
#pragma once

#include <span>

#include "squeeze/squeeze.h"

namespace thimble {

/// Primary scores in points over all tasks; clusters of one task have nothing to do with those of another.
struct PooledScores {
  std::vector<double> points;
  std::vector<std::string> clusters;
};
PooledScores pool_scores(std::span<const TaskResult> tasks);

/// Fills score, against_float and task_differences of `candidate` from its and the float model's item scores. Errors:
/// internal when the tasks do not match.
void compare_with_float(Candidate& candidate, const Candidate& baseline, double confidence);

/// Fills comparisons, p_keeps, p_loses and standing of every candidate that was scored (compare_with_float first).
/// "Keeps" means p_keeps <= alpha and every interval above -margin, "loses" p_loses <= alpha, with
/// alpha = (1 - confidence) / 2. A candidate must keep the margin on all tasks, so its p is the largest of them and
/// needs no correction (intersection-union, Berger 1982); to lose on any, it is the smallest times the number of tasks.
/// Both are then Holm-adjusted over the candidates.
void judge_standings(std::span<Candidate> candidates, const Candidate& baseline, const SqueezeOptions& options);

}  // namespace thimble
