// Non-inferiority by paired intervals. The lower end of the two-sided interval must stay above -margin on every task,
// so a candidate passes a one-sided test at (1 + confidence) / 2: errors are on the side of the larger model.
#include "squeeze/pick.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace thimble {

namespace {

struct Scores {
  std::vector<double> points;
  std::vector<std::string> clusters;
};

// Items of all tasks; a cluster of one task has nothing to do with that of the same name in another.
Scores all_items(const std::vector<TaskResult>& tasks) {
  Scores out;
  for (const TaskResult& t : tasks) {
    const std::vector<double> points = t.points();
    out.points.insert(out.points.end(), points.begin(), points.end());
    for (const ItemResult& item : t.items) out.clusters.push_back(t.task + "/" + item.cluster);
  }
  return out;
}

PairedDifference task_difference(const TaskResult& a, const TaskResult& b, double confidence) {
  return paired_bootstrap(a.points(), b.points(), a.clusters(), confidence, kResamples, kBootstrapSeed);
}

Standing judge(const Candidate& candidate, double margin) {
  bool unclear = false;
  for (const PairedDifference& d : candidate.task_differences) {
    if (d.high < -margin) return Standing::loses;
    unclear = unclear || d.low < -margin;
  }
  return unclear ? Standing::unclear : Standing::keeps;
}

// True when `larger` is better than `smaller` on some task, with confidence.
bool beats(const Candidate& larger, const Candidate& smaller, double confidence) {
  for (size_t t = 0; t < larger.tasks.size(); ++t) {
    if (task_difference(larger.tasks[t], smaller.tasks[t], confidence).low > 0) return true;
  }
  return false;
}

std::string megabytes(uint64_t bytes) {
  return fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6);
}

// What a picked candidate costs and saves.
std::string describe(const Candidate& c, const Candidate& baseline) {
  return fmt::format("{} ({}, {:.0f} % of the float model's {}) scores {:.1f} points against {:.1f} of the float model",
                     c.recipe.name, megabytes(c.file_bytes),
                     100.0 * static_cast<double>(c.file_bytes) / static_cast<double>(baseline.file_bytes),
                     megabytes(baseline.file_bytes), c.score.mean, baseline.score.mean);
}

// A bootstrap of items that all agree gives a point: it cannot see losses rarer than about 3 in n items (95 %).
std::string resolution_note(const Candidate& c) {
  std::string out;
  for (size_t t = 0; t < c.tasks.size(); ++t) {
    const PairedDifference& d = c.task_differences[t];
    if (d.low != d.high || c.tasks[t].items.empty()) continue;
    const double unseen = 300.0 / static_cast<double>(c.tasks[t].items.size());
    out += fmt::format("{}{} {:.1f} points ({} items)", out.empty() ? "" : ", ", c.tasks[t].task, unseen,
                       c.tasks[t].items.size());
  }
  if (out.empty()) return out;
  return " On some tasks no item scored differently from the float model, so the interval is a point; by the rule of "
         "three smaller losses than these could still go unseen: " +
         out + ". Perplexity and KL divergence show differences that saturated tasks hide.";
}

std::vector<size_t> by_size(std::span<const Candidate> candidates) {
  std::vector<size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return candidates[a].file_bytes < candidates[b].file_bytes; });
  std::erase_if(order, [&](size_t i) { return !candidates[i].excluded.empty(); });
  return order;
}

Choice nothing(const Candidate& baseline, std::span<const Candidate> candidates, const std::vector<size_t>& scored,
               const SqueezeOptions& options) {
  Choice out;
  if (scored.empty()) {
    out.explanation =
        fmt::format("None of the {} candidates fits the device: see the reasons below.", candidates.size());
    return out;
  }
  const size_t best = *std::max_element(scored.begin(), scored.end(), [&](size_t a, size_t b) {
    return candidates[a].score.mean < candidates[b].score.mean;
  });
  out.explanation = fmt::format(
      "{} of {} candidates fit the device, but each loses more than the margin of {} points on some task at "
      "{:.0f} % confidence. The best of them: {}.",
      scored.size(), candidates.size(), options.margin, 100.0 * options.confidence,
      describe(candidates[best], baseline));
  return out;
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

std::string_view verdict_name(Verdict v) noexcept {
  switch (v) {
    case Verdict::picked:
      return "picked";
    case Verdict::cannot_tell:
      return "cannot_tell";
    case Verdict::nothing_fits:
      return "nothing_fits";
  }
  return "unknown";
}

void compare_with_float(Candidate& candidate, const Candidate& baseline, double margin, double confidence) {
  if (candidate.tasks.size() != baseline.tasks.size()) {
    fail(ErrorCode::internal, "{}: found {} scored tasks, expected {}", candidate.recipe.name, candidate.tasks.size(),
         baseline.tasks.size());
  }
  const Scores a = all_items(candidate.tasks);
  const Scores b = all_items(baseline.tasks);
  candidate.score = bootstrap_mean(a.points, a.clusters, confidence, kResamples, kBootstrapSeed);
  candidate.against_float = paired_bootstrap(a.points, b.points, a.clusters, confidence, kResamples, kBootstrapSeed);
  candidate.task_differences.clear();
  for (size_t t = 0; t < candidate.tasks.size(); ++t) {
    candidate.task_differences.push_back(task_difference(candidate.tasks[t], baseline.tasks[t], confidence));
  }
  candidate.standing = judge(candidate, margin);
}

Choice pick(const Candidate& baseline, std::span<const Candidate> candidates, const SqueezeOptions& options) {
  const std::vector<size_t> order = by_size(candidates);
  for (size_t k = 0; k < order.size(); ++k) {
    const Candidate& c = candidates[order[k]];
    if (c.standing == Standing::loses) continue;
    const bool beaten =
        c.standing == Standing::unclear &&
        std::any_of(order.begin() + static_cast<std::ptrdiff_t>(k) + 1, order.end(), [&](size_t other) {
          return candidates[other].standing != Standing::loses && beats(candidates[other], c, options.confidence);
        });
    if (beaten) continue;
    Choice out;
    out.picked = static_cast<int>(order[k]);
    const std::string limit =
        fmt::format("the margin ({} points, {:.0f} % confidence)", options.margin, 100.0 * options.confidence);
    if (c.standing == Standing::keeps) {
      out.verdict = Verdict::picked;
      out.explanation = fmt::format("{} and keeps within {} on every task; no smaller candidate that fits does.",
                                    describe(c, baseline), limit) +
                        resolution_note(c);
    } else {
      out.verdict = Verdict::cannot_tell;
      out.explanation = fmt::format(
          "{}. The items cannot tell whether it keeps within {}, and no larger candidate is better than it with that "
          "confidence, so the smaller one was taken. More items, or a wider margin, would decide.",
          describe(c, baseline), limit);
    }
    return out;
  }
  return nothing(baseline, candidates, order, options);
}

}  // namespace thimble
