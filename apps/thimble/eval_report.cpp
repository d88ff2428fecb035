#include "eval_report.h"

#include <fmt/format.h>

#include "base/json.h"
#include "eval/fidelity_json.h"
#include "statistics/statistics.h"

namespace thimble::cli {

namespace {

Json task_json(const TaskSet& task, const TaskResult& r, const TaskFidelity* fidelity) {
  Json metrics = Json::object();
  for (const Metric m : task.metrics) metrics[std::string(metric_name(m))] = r.mean(m);
  int64_t truncated = 0;
  for (const ItemResult& item : r.items) truncated += item.truncated ? 1 : 0;
  Json out = {{"task", r.task},
              {"items", r.items.size()},
              {"primary", std::string(metric_name(r.primary))},
              {"metrics", metrics},
              {"truncated", truncated}};
  if (fidelity == nullptr) return out;
  out["fidelity"] = divergence_json(fidelity->divergence);
  out["fidelity"].update({{"tokens", fidelity->n_tokens},
                          {"perplexity", fidelity->perplexity},
                          {"mean_tail", fidelity->mean_tail},
                          {"flipped_items", fidelity->flipped_items}});
  return out;
}

Json model_json(const Evaluation& e, const ModelEvaluation& m) {
  Json out = Json::object();
  if (m.text) {
    out["perplexity"] = {{"value", m.text->perplexity.perplexity},
                         {"standard_error", m.text->perplexity.standard_error},
                         {"chunks", m.text->perplexity.n_chunks},
                         {"tokens", m.text->perplexity.n_scored}};
    if (m.text->divergence) out["divergence"] = divergence_json(*m.text->divergence);
  }
  if (m.tasks.empty()) return out;
  out["tasks"] = Json::array();
  for (size_t t = 0; t < m.tasks.size(); ++t) {
    out["tasks"].push_back(task_json(e.tasks[t], m.tasks[t], m.fidelity.empty() ? nullptr : &m.fidelity[t]));
  }
  return out;
}

void print_text(const FidelityResult& r) {
  fmt::print("perplexity         {:.4f} +/- {:.4f} ({} chunks, {} tokens)\n", r.perplexity.perplexity,
             r.perplexity.standard_error, r.perplexity.n_chunks, r.perplexity.n_scored);
  if (!r.divergence) return;
  const DivergenceResult& d = *r.divergence;
  fmt::print("reference          {:.4f}\n", d.reference_perplexity);
  fmt::print("KL mean            {:.5f} nats per token\n", d.mean_kl);
  fmt::print("KL median          {:.5f}\n", d.median_kl);
  fmt::print("KL 99 %            {:.4f}\n", d.p99_kl);
  fmt::print("KL max             {:.4f}\n", d.max_kl);
  fmt::print("same top token     {:.2f} %\n", 100.0 * d.top1_agreement);
}

void print_tasks(const std::vector<TaskSet>& tasks, const std::vector<TaskResult>& results) {
  fmt::print("{:<20} {:>6} {:<16} {:>8} {:>17}\n", "task", "items", "metric", "score", "95 % interval");
  for (size_t t = 0; t < results.size(); ++t) {
    const TaskResult& r = results[t];
    const Interval i = bootstrap_mean(r.points(), r.clusters(), 0.95, 10000, 1);
    for (const Metric m : tasks[t].metrics) {
      const std::string range = m == r.primary ? fmt::format("{:.1f} to {:.1f}", i.low, i.high) : "";
      fmt::print("{:<20} {:>6} {:<16} {:>8.2f} {:>17}\n", m == r.primary ? r.task : "",
                 m == r.primary ? std::to_string(r.items.size()) : "", metric_name(m),
                 100.0 * r.mean(m) / metric_scale(m), range);
    }
  }
}

void print_fidelity(const std::vector<TaskFidelity>& all) {
  fmt::print("\non the reference's own answers (KL: lower bound, nats a token)\n");
  fmt::print("{:<20} {:>8} {:>10} {:>8} {:>8} {:>9} {:>18}\n", "task", "tokens", "KL mean", "KL 99 %", "tail",
             "same top", "answers changed");
  for (const TaskFidelity& f : all) {
    fmt::print("{:<20} {:>8} {:>10.5f} {:>8.4f} {:>8.4f} {:>7.2f} % {:>18}\n", f.task, f.n_tokens, f.divergence.mean_kl,
               f.divergence.p99_kl, f.mean_tail, 100.0 * f.divergence.top1_agreement,
               fmt::format("{} of {}", f.flipped_items, f.items.size()));
  }
}

}  // namespace

void print_evaluation(const Evaluation& e) {
  for (const ModelEvaluation& m : e.models) {
    if (e.models.size() > 1) fmt::print("{}{}\n", &m == &e.models.front() ? "" : "\n", m.model.name);
    if (m.text) print_text(*m.text);
    if (!m.tasks.empty()) print_tasks(e.tasks, m.tasks);
    if (!m.fidelity.empty()) print_fidelity(m.fidelity);
  }
}

std::string eval_json(const Evaluation& e) {
  Json out;
  if (e.models.size() == 1) {
    out = model_json(e, e.models.front());
  } else {
    out["models"] = Json::array();
    for (const ModelEvaluation& m : e.models) {
      Json one = model_json(e, m);
      one["name"] = m.model.name;
      out["models"].push_back(std::move(one));
    }
  }
  return out.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace thimble::cli
