// From manifest, tasks and journal to results: no model is needed, and nothing here depends on how the journal was
// made.
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "eval/evaluation.h"
#include "eval/fidelity_json.h"
#include "statistics/statistics.h"

namespace thimble {

namespace {

constexpr std::string_view kResultsFormat = "thimble-eval-results/1";

Json text_json(const FidelityResult& r) {
  return {{"perplexity", r.perplexity.perplexity},
          {"standard_error", r.perplexity.standard_error},
          {"chunks", r.perplexity.n_chunks},
          {"tokens", r.perplexity.n_scored},
          {"divergence", r.divergence ? divergence_json(*r.divergence) : Json()}};
}

Json items_json(const TaskResult& r) {
  Json out = Json::array();
  for (const ItemResult& item : r.items) {
    Json scores = Json::object();
    for (const auto& [metric, value] : item.scores) scores[std::string(metric_name(metric))] = value;
    out.push_back({{"id", item.id},
                   {"cluster", item.cluster},
                   {"answer", item.answer},
                   {"truncated", item.truncated},
                   {"scores", scores}});
  }
  return out;
}

Json fidelity_json(const TaskFidelity& f) {
  Json out = task_fidelity_json(f);
  out["items"] = item_fidelity_json(f);
  return out;
}

Json task_json(const TaskSet& task, const TaskResult& r, const TaskFidelity* fidelity) {
  Json metrics = Json::object();
  for (const Metric m : task.metrics) metrics[std::string(metric_name(m))] = r.mean(m);
  int64_t truncated = 0;
  for (const ItemResult& item : r.items) truncated += item.truncated ? 1 : 0;
  const Interval i = bootstrap_mean(r.points(), r.clusters(), 0.95, 10000, 1);
  return {{"task", r.task},         {"data", task.data_hash},
          {"items", items_json(r)}, {"primary", metric_name(r.primary)},
          {"metrics", metrics},     {"score", {{"mean", i.mean}, {"low", i.low}, {"high", i.high}}},
          {"truncated", truncated}, {"fidelity", fidelity ? fidelity_json(*fidelity) : Json()}};
}

ModelEvaluation score_model(const EvaluationManifest& m, size_t model, const std::vector<TaskSet>& tasks,
                            const Journal& journal) {
  ModelEvaluation out;
  out.model = m.models[model];
  for (const TaskSet& task : tasks) {
    out.tasks.push_back(score_journal(task, m.run_key(model), journal));
    if (m.reference) out.fidelity.push_back(fidelity_from_journal(task, m.fidelity_settings(model, task), journal));
  }
  if (m.text_hash.empty()) return out;
  out.text = text_from_journal(m.text_run(model), journal);
  if (!out.text) fail(ErrorCode::not_found, "text: found no finished perplexity in the journal, expected it");
  return out;
}

}  // namespace

bool is_evaluated(const EvaluationManifest& manifest, size_t model, const std::vector<TaskSet>& tasks,
                  const Journal& journal) {
  for (const TaskSet& task : tasks) {
    if (!unanswered(task, manifest.run_key(model), journal).empty()) return false;
    if (!manifest.reference) continue;
    if (!unmeasured(task, manifest.fidelity_settings(model, task), journal).empty()) return false;
  }
  return manifest.text_hash.empty() || text_from_journal(manifest.text_run(model), journal);
}

Evaluation score_evaluation(const EvaluationManifest& manifest, std::vector<TaskSet> tasks, const Journal& journal) {
  Evaluation out;
  out.manifest = manifest;
  for (size_t m = 0; m < manifest.models.size(); ++m) {
    try {
      out.models.push_back(score_model(manifest, m, tasks, journal));
    } catch (const Error& e) {
      fail(e.code(), "{}: {}", manifest.models[m].name, e.what());
    }
  }
  out.tasks = std::move(tasks);
  return out;
}

Evaluation rescore(const std::string& folder, const std::string& tasks) {
  const EvaluationManifest manifest = read_manifest(folder);
  if (manifest.shard) {
    fail(ErrorCode::invalid_argument, "{}: found shard {}, expected a whole evaluation: merge the shards", folder,
         shard_name(*manifest.shard));
  }
  const std::filesystem::path base(folder);
  const std::string journal_path = (base / kJournalFile).string();
  (void)file_stamp(journal_path);  // opening a journal would make one
  const Journal journal(journal_path);
  std::vector<TaskSet> sets;
  if (!manifest.tasks.empty()) sets = read_tasks(tasks.empty() ? manifest.tasks_folder : tasks);
  Evaluation out = score_evaluation(manifest, std::move(sets), journal);
  write_file_atomically((base / kResultsFile).string(), evaluation_json(out));
  return out;
}

std::string evaluation_json(const Evaluation& e) {
  Json models = Json::array();
  for (const ModelEvaluation& m : e.models) {
    Json tasks = Json::array();
    for (size_t t = 0; t < m.tasks.size(); ++t) {
      tasks.push_back(task_json(e.tasks[t], m.tasks[t], m.fidelity.empty() ? nullptr : &m.fidelity[t]));
    }
    models.push_back({{"name", m.model.name},
                      {"hash", m.model.hash},
                      {"chat_template", m.model.chat_template},
                      {"text", m.text ? text_json(*m.text) : Json()},
                      {"tasks", tasks}});
  }
  const Json reference = e.manifest.reference ? Json(e.manifest.reference->name) : Json();
  const Json out = {
      {"format", kResultsFormat}, {"version", e.manifest.version}, {"reference", reference}, {"models", models}};
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<size_t> shard_items(const std::vector<TaskSet>& tasks, size_t task, const Shard& shard) {
  size_t number = 0;
  for (size_t t = 0; t < task; ++t) number += tasks[t].items.size();
  std::vector<size_t> out;
  for (size_t i = 0; i < tasks[task].items.size(); ++i) {
    if (shard.has_item(number + i)) out.push_back(i);
  }
  return out;
}

}  // namespace thimble
