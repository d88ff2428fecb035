// Rank agreement of the candidates' fidelity with their scores.
#include "squeeze/headline.h"

#include "base/error.h"
#include "squeeze/standings.h"

namespace thimble {

namespace {

// The measure of a candidate, where it has one.
std::optional<double> value_of(const Candidate& c, std::string_view measure) {
  if (!c.fidelity) return std::nullopt;
  if (measure == "perplexity") return c.fidelity->perplexity.perplexity;
  if (!c.fidelity->divergence) return std::nullopt;
  return c.fidelity->divergence->mean_kl;
}

// "12 of 66 pairs of candidates (18 %, 95 % interval 9 to 30 %)"
std::string share(const Disagreement& d, std::string_view pairs, double confidence) {
  if (d.pairs == 0) return fmt::format("0 of 0 {}", pairs);
  return fmt::format("{} of {} {} ({:.0f} %, {:.0f} % interval {:.0f} to {:.0f} %)", d.disagree, d.pairs, pairs,
                     100 * d.rate, 100 * confidence, 100 * d.low, 100 * d.high);
}

}  // namespace

std::string_view measure_title(const OrderAgreement& order) noexcept {
  return order.measure == "kl" ? "KL divergence" : "perplexity";
}

std::vector<OrderAgreement> order_agreement(std::span<const Candidate> candidates, double confidence) {
  std::vector<OrderAgreement> out;
  const RankSettings settings{confidence, kResamples, kBootstrapSeed};
  for (const std::string_view measure : {"perplexity", "kl"}) {
    std::vector<const Candidate*> with;
    std::vector<double> loss;
    for (const Candidate& c : candidates) {
      const std::optional<double> value = value_of(c, measure);
      if (!c.excluded.empty() || c.tasks.empty() || !value) continue;
      with.push_back(&c);
      loss.push_back(*value);
    }
    if (with.size() < 2) continue;
    std::vector<std::vector<double>> scores;
    scores.reserve(with.size());
    for (const Candidate* c : with) scores.push_back(pool_scores(c->tasks).points);
    const std::vector<std::string> clusters = pool_scores(with.front()->tasks).clusters;
    out.push_back({std::string(measure), "", rank_agreement(loss, scores, clusters, settings)});
    const size_t n_tasks = with.front()->tasks.size();
    for (size_t t = 0; n_tasks > 1 && t < n_tasks; ++t) {
      for (size_t i = 0; i < with.size(); ++i) scores[i] = with[i]->tasks[t].points();
      const TaskResult& first = with.front()->tasks[t];
      out.push_back({std::string(measure), first.task, rank_agreement(loss, scores, first.clusters(), settings)});
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
