// Comparisons and Holm's correction.
#include "squeeze/standings.h"

#include <algorithm>

#include "base/error.h"

namespace thimble {

namespace {

PairedSample sample_of(const TaskResult& a, const TaskResult& b) {
  return paired_sample(a.points(), b.points(), a.clusters());
}

TaskComparison compare_task(const TaskResult& a, const TaskResult& b, const SqueezeOptions& options,
                            size_t n_candidates) {
  const PairedSample sample = sample_of(a, b);
  const double alpha = 1 - options.confidence;
  TaskComparison out;
  out.p_different = sign_flip_p(sample, kResamples, kBootstrapSeed);
  out.p_keeps = p_above(sample, -options.margin);
  out.p_loses = p_below(sample, -options.margin);
  out.flips = mcnemar(a.points(), b.points(), kPassPoints);
  out.detectable = detectable_difference(sample, alpha, kPower);
  // Holm's first and hardest step.
  out.items_needed = items_to_decide(sample, -options.margin, alpha / 2 / static_cast<double>(n_candidates), kPower);
  return out;
}

bool above_margin(const Candidate& c, double margin) {
  return std::all_of(c.task_differences.begin(), c.task_differences.end(),
                     [&](const PairedDifference& d) { return d.low > -margin; });
}

}  // namespace

std::string_view standing_name(Standing s) noexcept {
  switch (s) {
    case Standing::excluded:
      return "excluded";
    case Standing::keeps:
      return "keeps";
    case Standing::loses:
      return "loses";
    case Standing::unclear:
      return "unclear";
  }
  return "unknown";
}

PooledScores pool_scores(std::span<const TaskResult> tasks) {
  PooledScores out;
  for (const TaskResult& t : tasks) {
    const std::vector<double> points = t.points();
    out.points.insert(out.points.end(), points.begin(), points.end());
    for (const ItemResult& item : t.items) out.clusters.push_back(t.task + "/" + item.cluster);
  }
  return out;
}

void compare_with_float(Candidate& candidate, const Candidate& baseline, double confidence) {
  if (candidate.tasks.size() != baseline.tasks.size()) {
    fail(ErrorCode::internal, "{}: found {} scored tasks, expected {}", candidate.recipe.name, candidate.tasks.size(),
         baseline.tasks.size());
  }
  const PooledScores a = pool_scores(candidate.tasks);
  const PooledScores b = pool_scores(baseline.tasks);
  candidate.score = bootstrap_mean(a.points, a.clusters, confidence, kResamples, kBootstrapSeed);
  candidate.against_float = paired_bootstrap(a.points, b.points, a.clusters, confidence, kResamples, kBootstrapSeed);
  candidate.task_differences.clear();
  for (size_t t = 0; t < candidate.tasks.size(); ++t) {
    const TaskResult& x = candidate.tasks[t];
    candidate.task_differences.push_back(
        paired_bootstrap(x.points(), baseline.tasks[t].points(), x.clusters(), confidence, kResamples, kBootstrapSeed));
  }
}

void judge_standings(std::span<Candidate> candidates, const Candidate& baseline, const SqueezeOptions& options) {
  std::vector<Candidate*> scored;
  for (Candidate& c : candidates) {
    if (c.excluded.empty()) scored.push_back(&c);
  }
  std::vector<double> keeps, loses;
  for (Candidate* c : scored) {
    c->comparisons.clear();
    double all = 0, any = 1;
    for (size_t t = 0; t < c->tasks.size(); ++t) {
      const TaskComparison& made =
          c->comparisons.emplace_back(compare_task(c->tasks[t], baseline.tasks[t], options, scored.size()));
      all = std::max(all, made.p_keeps);
      any = std::min(any, made.p_loses);
    }
    keeps.push_back(all);
    // A loss over all items is a loss on some task, and more items show it sooner.
    const PooledScores a = pool_scores(c->tasks), b = pool_scores(baseline.tasks);
    any = std::min(any, p_below(paired_sample(a.points, b.points, a.clusters), -options.margin));
    loses.push_back(std::min(1.0, any * static_cast<double>(c->tasks.size() + 1)));
  }
  keeps = holm(keeps);
  loses = holm(loses);
  const double alpha = (1 - options.confidence) / 2;
  for (size_t i = 0; i < scored.size(); ++i) {
    Candidate& c = *scored[i];
    c.p_keeps = keeps[i];
    c.p_loses = loses[i];
    c.standing = Standing::unclear;
    if (c.p_loses <= alpha) c.standing = Standing::loses;
    if (c.p_keeps <= alpha && above_margin(c, options.margin)) c.standing = Standing::keeps;
  }
}

}  // namespace thimble
