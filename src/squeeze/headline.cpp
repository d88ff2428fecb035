// Rank agreement of the candidates' fidelity with their scores.
#include "squeeze/headline.h"

#include "base/error.h"
#include "squeeze/standings.h"

namespace thimble {

namespace {

// The measure of a candidate on all items or on those of one task, where it has one.
std::optional<double> value_of(const Candidate& c, std::string_view measure, std::optional<size_t> task) {
  if (measure == "answers_kl") {
    const std::span<const TaskFidelity> all(c.on_answers);
    if (task && *task >= all.size()) return std::nullopt;
    const std::optional<PooledFidelity> pooled = pool_fidelity(task ? all.subspan(*task, 1) : all);
    return pooled ? std::optional(pooled->mean_kl) : std::nullopt;
  }
  if (!c.fidelity) return std::nullopt;
  if (measure == "perplexity") return c.fidelity->perplexity.perplexity;
  if (!c.fidelity->divergence) return std::nullopt;
  return c.fidelity->divergence->mean_kl;
}

// Candidates that were scored and measured.
struct Measured {
  std::vector<const Candidate*> candidates;
  std::vector<double> loss;
};
Measured measured(std::span<const Candidate> candidates, std::string_view measure, std::optional<size_t> task) {
  Measured out;
  for (const Candidate& c : candidates) {
    if (!c.excluded.empty() || c.tasks.empty()) continue;
    const std::optional<double> value = value_of(c, measure, task);
    if (!value) continue;
    out.candidates.push_back(&c);
    out.loss.push_back(*value);
  }
  return out;
}

OrderAgreement over_all_items(std::string_view measure, const Measured& m, const RankSettings& settings) {
  std::vector<std::vector<double>> scores;
  scores.reserve(m.candidates.size());
  for (const Candidate* c : m.candidates) scores.push_back(pool_scores(c->tasks).points);
  const std::vector<std::string> clusters = pool_scores(m.candidates.front()->tasks).clusters;
  return {std::string(measure), "", rank_agreement(m.loss, scores, clusters, settings)};
}

OrderAgreement on_task(std::string_view measure, const Measured& m, size_t task, const RankSettings& settings) {
  std::vector<std::vector<double>> scores;
  scores.reserve(m.candidates.size());
  for (const Candidate* c : m.candidates) scores.push_back(c->tasks[task].points());
  const TaskResult& first = m.candidates.front()->tasks[task];
  return {std::string(measure), first.task, rank_agreement(m.loss, scores, first.clusters(), settings)};
}

// "12 of 66 pairs of candidates (18 %, 95 % interval 9 to 30 %)"
std::string share(const Disagreement& d, std::string_view pairs, double confidence) {
  if (d.pairs == 0) return fmt::format("0 of 0 {}", pairs);
  return fmt::format("{} of {} {} ({:.0f} %, {:.0f} % interval {:.0f} to {:.0f} %)", d.disagree, d.pairs, pairs,
                     100 * d.rate, 100 * confidence, 100 * d.low, 100 * d.high);
}

}  // namespace

std::string_view measure_title(const OrderAgreement& order) noexcept {
  if (order.measure == "answers_kl") return "KL divergence on the float model's answers";
  return order.measure == "kl" ? "KL divergence on the text" : "perplexity";
}

std::vector<OrderAgreement> order_agreement(std::span<const Candidate> candidates, double confidence) {
  std::vector<OrderAgreement> out;
  const RankSettings settings{confidence, kResamples, kBootstrapSeed};
  for (const std::string_view measure : {"perplexity", "kl", "answers_kl"}) {
    const Measured all = measured(candidates, measure, std::nullopt);
    if (all.candidates.size() < 2) continue;
    out.push_back(over_all_items(measure, all, settings));
    const size_t n_tasks = all.candidates.front()->tasks.size();
    for (size_t t = 0; n_tasks > 1 && t < n_tasks; ++t) {
      const Measured those = measured(candidates, measure, t);
      if (those.candidates.size() > 1) out.push_back(on_task(measure, those, t, settings));
    }
  }
  return out;
}

std::string describe_agreement(const OrderAgreement& o, double confidence) {
  const RankAgreement& a = o.agreement;
  std::string out = fmt::format("The order by {} disagrees with the order by {} in {}", measure_title(o),
                                o.task.empty() ? "task score" : "the score on " + o.task,
                                share(a.all, "pairs of candidates", confidence));
  if (a.significant.pairs > 0) {
    out += "; among pairs whose scores differ significantly, in " + share(a.significant, "pairs", confidence);
  } else {
    out += "; no pair of candidates differs significantly in its scores";
  }
  if (a.all.tied > 0) {
    out += fmt::format("; {} {} left out", a.all.tied, a.all.tied == 1 ? "tied pair is" : "tied pairs are");
  }
  return out + fmt::format(". Kendall's tau-b is {:.2f} ({:.2f} to {:.2f}).", a.tau_b, a.tau_low, a.tau_high);
}

}  // namespace thimble
