// Non-inferiority decides; where it cannot, the text says what would.
#include "squeeze/pick.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "squeeze/headline.h"
#include "squeeze/html_text.h"
#include "squeeze/standings.h"

namespace thimble {

namespace {

constexpr double kSameSize = 1.005;  // files this close in size are told apart by speed

// True when `larger` is better than `smaller` on some task, with confidence.
bool beats(const Candidate& larger, const Candidate& smaller, double confidence) {
  for (size_t t = 0; t < larger.tasks.size(); ++t) {
    const PairedDifference d = paired_bootstrap(larger.tasks[t].points(), smaller.tasks[t].points(),
                                                larger.tasks[t].clusters(), confidence, kResamples, kBootstrapSeed);
    if (d.low > 0) return true;
  }
  return false;
}

// What a candidate costs and saves.
std::string describe(const Candidate& c, const Candidate& baseline) {
  return fmt::format("{} ({}, {:.0f} % of the float model's {}) scores {:.1f} points against {:.1f} of the float model",
                     c.recipe.name, format_bytes(c.file_bytes),
                     100.0 * static_cast<double>(c.file_bytes) / static_cast<double>(baseline.file_bytes),
                     format_bytes(baseline.file_bytes), c.score.mean, baseline.score.mean);
}

std::string margin_text(const SqueezeOptions& o) {
  return fmt::format("the margin ({} {}, {:.0f} % confidence)", o.margin, o.margin == 1 ? "point" : "points",
                     100.0 * o.confidence);
}

// Indices of scored candidates with a standing, smallest file first.
std::vector<size_t> with_standing(std::span<const Candidate> candidates, Standing standing) {
  std::vector<size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::erase_if(order, [&](size_t i) { return !candidates[i].excluded.empty() || candidates[i].standing != standing; });
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return candidates[a].file_bytes < candidates[b].file_bytes; });
  return order;
}

// Of the files as small as the first, the fastest.
size_t fastest_of_smallest(std::span<const Candidate> candidates, const std::vector<size_t>& by_size) {
  size_t best = by_size.front();
  const double limit = static_cast<double>(candidates[best].file_bytes) * kSameSize;
  for (const size_t i : by_size) {
    if (static_cast<double>(candidates[i].file_bytes) > limit) break;
    if (candidates[i].plan.decode_tokens_per_s > candidates[best].plan.decode_tokens_per_s) best = i;
  }
  return best;
}

// "meeting: about 310 more items (51 now)" for each task that is not decided.
std::string what_would_decide(const Candidate& c, const SqueezeOptions& options) {
  std::string out;
  for (size_t t = 0; t < c.comparisons.size(); ++t) {
    const TaskComparison& made = c.comparisons[t];
    const auto n = static_cast<int64_t>(c.tasks[t].items.size());
    const double alpha = (1 - options.confidence) / 2;
    if (made.p_keeps <= alpha && c.task_differences[t].low > -options.margin && made.items_needed == n) continue;
    out += out.empty() ? "" : "; ";
    if (!made.items_needed) {
      out += fmt::format("{}: no realistic number ({} now)", c.tasks[t].task, n);
    } else if (*made.items_needed > n) {
      out += fmt::format("{}: about {} more ({} now)", c.tasks[t].task, *made.items_needed - n, n);
    }
  }
  if (out.empty()) return " A few more items on each task would decide.";
  return fmt::format(" Items that would decide in 4 of 5 cases, were the losses as measured: {}.", out);
}

std::string names_of(std::span<const Candidate> candidates, const std::vector<size_t>& some) {
  std::string out;
  for (const size_t i : some) out += (out.empty() ? "" : ", ") + candidates[i].recipe.name;
  return out;
}

Choice keeper(const Candidate& baseline, std::span<const Candidate> candidates, const std::vector<size_t>& keepers,
              const SqueezeOptions& options) {
  Choice out;
  const size_t best = fastest_of_smallest(candidates, keepers);
  const Candidate& c = candidates[best];
  out.verdict = Verdict::picked;
  out.picked = static_cast<int>(best);
  out.explanation = fmt::format(
      "{} and keeps within {} on every task, corrected for {} candidates; no smaller candidate that fits "
      "is shown to.",
      describe(c, baseline), margin_text(options),
      std::count_if(candidates.begin(), candidates.end(), [](const Candidate& x) { return x.excluded.empty(); }));
  std::vector<size_t> smaller = with_standing(candidates, Standing::unclear);
  std::erase_if(smaller, [&](size_t i) { return candidates[i].file_bytes >= c.file_bytes; });
  if (!smaller.empty()) {
    out.explanation +=
        fmt::format(" Smaller, but the items cannot tell: {}. For {}:{}", names_of(candidates, smaller),
                    candidates[smaller.front()].recipe.name, what_would_decide(candidates[smaller.front()], options));
  }
  return out;
}

bool within_margin_as_measured(const Candidate& c, double margin) {
  return std::all_of(c.task_differences.begin(), c.task_differences.end(),
                     [&](const PairedDifference& d) { return d.mean >= -margin; });
}

Choice undecided(const Candidate& baseline, std::span<const Candidate> candidates, const std::vector<size_t>& unclear,
                 const SqueezeOptions& options) {
  const auto beaten = [&](size_t k) {
    return std::any_of(unclear.begin() + static_cast<std::ptrdiff_t>(k) + 1, unclear.end(), [&](size_t other) {
      return beats(candidates[other], candidates[unclear[k]], options.confidence);
    });
  };
  size_t taken = unclear.front();
  bool good = false;
  for (size_t k = 0; k < unclear.size() && !good; ++k) {
    good = within_margin_as_measured(candidates[unclear[k]], options.margin) && !beaten(k);
    if (good) taken = unclear[k];
  }
  const Candidate& c = candidates[taken];
  Choice out;
  out.verdict = Verdict::cannot_tell;
  out.picked = static_cast<int>(taken);
  out.explanation = fmt::format("{}. The items cannot tell whether it keeps within {}: ", describe(c, baseline),
                                margin_text(options));
  out.explanation +=
      good ? "the losses measured are within it, but too uncertain. It is the smallest such candidate that no larger "
             "one "
             "is shown to beat, so it was taken."
           : "no candidate's measured losses are within it on every task, and the smallest undecided one was taken.";
  out.explanation += what_would_decide(c, options);
  return out;
}

Choice nothing(const Candidate& baseline, std::span<const Candidate> candidates, const SqueezeOptions& options) {
  Choice out;
  const std::vector<size_t> scored = with_standing(candidates, Standing::loses);
  if (scored.empty()) {
    out.explanation =
        fmt::format("None of the {} candidates fits the device: see the reasons below.", candidates.size());
    return out;
  }
  const size_t best = *std::max_element(scored.begin(), scored.end(), [&](size_t a, size_t b) {
    return candidates[a].score.mean < candidates[b].score.mean;
  });
  out.explanation =
      fmt::format("{} of {} candidates fit the device, but each loses more than {} on some task. The best of them: {}.",
                  scored.size(), candidates.size(), margin_text(options), describe(candidates[best], baseline));
  return out;
}

}  // namespace

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

Choice pick(const Candidate& baseline, std::span<const Candidate> candidates, const SqueezeOptions& options) {
  const std::vector<size_t> keepers = with_standing(candidates, Standing::keeps);
  if (!keepers.empty()) return keeper(baseline, candidates, keepers, options);
  const std::vector<size_t> unclear = with_standing(candidates, Standing::unclear);
  if (!unclear.empty()) return undecided(baseline, candidates, unclear, options);
  return nothing(baseline, candidates, options);
}

void conclude(SqueezeResult& r) {
  compare_with_float(r.baseline, r.baseline, r.options.confidence);
  r.baseline.against_float = {};  // of a model with itself nothing is unknown
  for (PairedDifference& d : r.baseline.task_differences) d = {};
  for (Candidate& c : r.candidates) {
    if (c.excluded.empty()) compare_with_float(c, r.baseline, r.options.confidence);
  }
  judge_standings(r.candidates, r.baseline, r.options);
  const Choice choice = pick(r.baseline, r.candidates, r.options);
  r.verdict = choice.verdict;
  r.picked = choice.picked;
  r.explanation = choice.explanation;
  r.order_agreement = order_agreement(r.candidates, r.options.confidence);
}

}  // namespace thimble
