// report.json: every number of the report, for machines. Schema: docs/EVALUATION.md.
#include <algorithm>

#include "base/json.h"
#include "eval/fidelity_json.h"
#include "eval/scored_model.h"
#include "squeeze/headline.h"
#include "squeeze/report.h"
#include "squeeze/standings.h"

namespace thimble {

namespace {

Json to_json(const PairedDifference& d) {
  return {{"mean", d.mean}, {"low", d.low}, {"high", d.high}, {"p_worse", d.p_worse}};
}

Json to_json(const DevicePlan& p) {
  return {{"weight_bytes", p.weight_bytes},
          {"kv_bytes", p.kv_bytes},
          {"activation_bytes", p.activation_bytes},
          {"total_bytes", p.total_bytes},
          {"available_bytes", p.available_bytes},
          {"fits", p.fits},
          {"context", p.context},
          {"largest_context", p.largest_context},
          {"prefill_tokens_per_s", p.prefill_tokens_per_s},
          {"decode_tokens_per_s", p.decode_tokens_per_s},
          {"prefill_watts", p.prefill_watts},
          {"decode_watts", p.decode_watts},
          {"joules_per_token", p.joules_per_token}};
}

Json to_json(const FidelityResult& f) {
  Json out = {{"perplexity", f.perplexity.perplexity},
              {"perplexity_standard_error", f.perplexity.standard_error},
              {"chunks", f.perplexity.n_chunks},
              {"scored_tokens", f.perplexity.n_scored}};
  if (f.divergence) {
    out["kl_mean"] = f.divergence->mean_kl;
    out["kl_median"] = f.divergence->median_kl;
    out["kl_p99"] = f.divergence->p99_kl;
    out["kl_max"] = f.divergence->max_kl;
    out["top1_agreement"] = f.divergence->top1_agreement;
  }
  return out;
}

Json to_json(const PooledFidelity& f) {
  return {{"tokens", f.n_tokens},
          {"mean_kl", f.mean_kl},
          {"top1_agreement", f.top1_agreement},
          {"items", f.n_items},
          {"flipped_items", f.flipped_items}};
}

Json to_json(const TaskComparison& c) {
  return {{"p_different", c.p_different}, {"p_keeps", c.p_keeps},
          {"p_loses", c.p_loses},         {"lost", c.flips.lost},
          {"gained", c.flips.gained},     {"p_mcnemar", c.flips.p},
          {"detectable", c.detectable},   {"items_needed", c.items_needed ? Json(*c.items_needed) : Json()}};
}

Json to_json(const Disagreement& d) {
  return {{"pairs", d.pairs}, {"tied", d.tied}, {"disagree", d.disagree},
          {"rate", d.rate},   {"low", d.low},   {"high", d.high}};
}

Json to_json(const OrderAgreement& o, double confidence) {
  return {{"measure", o.measure},
          {"task", o.task.empty() ? Json() : Json(o.task)},
          {"all", to_json(o.agreement.all)},
          {"significant", to_json(o.agreement.significant)},
          {"tau_b", o.agreement.tau_b},
          {"tau_low", o.agreement.tau_low},
          {"tau_high", o.agreement.tau_high},
          {"text", describe_agreement(o, confidence)}};
}

Json task_scores(const Candidate& c, const std::vector<TaskSet>& tasks) {
  Json out = Json::array();
  for (size_t t = 0; t < c.tasks.size(); ++t) {
    const TaskResult& r = c.tasks[t];
    Json metrics = Json::object();
    for (const Metric m : tasks[t].metrics) metrics[std::string(metric_name(m))] = r.mean(m);
    const auto truncated =
        std::count_if(r.items.begin(), r.items.end(), [](const ItemResult& i) { return i.truncated; });
    Json entry = {{"task", r.task}, {"items", r.items.size()}, {"metrics", metrics}, {"truncated", truncated}};
    entry["against_float"] = t < c.task_differences.size() ? to_json(c.task_differences[t]) : Json();
    entry["tests"] = t < c.comparisons.size() ? to_json(c.comparisons[t]) : Json();
    entry["on_answers"] = t < c.on_answers.size() ? task_fidelity_json(c.on_answers[t]) : Json();
    entry.update(item_scores_json(tasks[t], r));
    out.push_back(std::move(entry));
  }
  return out;
}

Json to_json(const Candidate& c, const std::vector<TaskSet>& tasks) {
  Json rules = Json::array();
  for (const RecipeRule& r : c.recipe.rules) {
    rules.push_back({{"match", r.match}, {"type", std::string(traits(r.type).name)}});
  }
  Json out = {{"name", c.recipe.name},
              {"scheme", c.recipe.scheme},
              {"rules", rules},
              {"file_bytes", c.file_bytes},
              {"hash", c.hash.empty() ? Json() : Json(c.hash)},
              {"bits_per_weight", c.bits_per_weight},
              {"body_bits_per_weight", c.body_bits_per_weight},
              {"plan", to_json(c.plan)},
              {"excluded", c.excluded.empty() ? Json() : Json(c.excluded)},
              {"standing", std::string(standing_name(c.standing))},
              {"p_keeps", c.comparisons.empty() ? Json() : Json(c.p_keeps)},
              {"p_loses", c.comparisons.empty() ? Json() : Json(c.p_loses)},
              {"score", nullptr},
              {"against_float", nullptr},
              {"fidelity", nullptr},
              {"on_answers", nullptr},
              {"tasks", task_scores(c, tasks)}};
  if (!c.tasks.empty()) {
    out["score"] = {{"mean", c.score.mean}, {"low", c.score.low}, {"high", c.score.high}};
    out["against_float"] = to_json(c.against_float);
  }
  if (c.fidelity) out["fidelity"] = to_json(*c.fidelity);
  if (const std::optional<PooledFidelity> f = pool_fidelity(c.on_answers)) out["on_answers"] = to_json(*f);
  return out;
}

}  // namespace

std::string report_json(const SqueezeResult& r) {
  Json candidates = Json::array();
  for (const Candidate& c : r.candidates) candidates.push_back(to_json(c, r.tasks));
  Json tasks = Json::array(), agreement = Json::array();
  for (const TaskSet& t : r.tasks) tasks.push_back(task_items_json(t));
  for (const OrderAgreement& o : r.order_agreement) agreement.push_back(to_json(o, r.options.confidence));
  const Json out = {{"schema", "thimble-squeeze-report/2"},
                    {"thimble", r.version},
                    {"verdict", std::string(verdict_name(r.verdict))},
                    {"picked", r.picked < 0 ? Json() : Json(r.picked)},
                    {"explanation", r.explanation},
                    {"model", {{"name", r.model_name}, {"source", r.options.model}, {"hash", r.baseline.hash}}},
                    {"device", {{"name", r.device.name}, {"source", r.options.device}}},
                    {"options",
                     {{"margin", r.options.margin},
                      {"confidence", r.options.confidence},
                      {"kv", r.options.kv == ops::KvType::f16 ? "f16" : "int8"},
                      {"text", r.options.text.empty() ? Json() : Json(r.options.text)},
                      {"resamples", kResamples},
                      {"seed", kBootstrapSeed}}},
                    {"tasks", tasks},
                    {"order_agreement", agreement},
                    {"calibrated_on", r.calibrated_on.empty() ? Json() : Json(r.calibrated_on)},
                    {"baseline", to_json(r.baseline, r.tasks)},
                    {"candidates", candidates},
                    {"reproduce", reproduce_command(r.options)}};
  // Paths may hold bytes that are no UTF-8: they become U+FFFD instead of an exception.
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace thimble
