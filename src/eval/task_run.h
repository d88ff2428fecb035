// Runs tasks on an engine greedily, item by item, through an append-only journal so that a killed run resumes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "eval/journal.h"
#include "eval/task.h"
#include "runtime/engine.h"

namespace thimble {

struct ItemResult {
  std::string id;
  std::string cluster;
  std::string answer;
  bool truncated = false;           // hit the generation limit
  std::map<Metric, double> scores;  // exact, fact_recall, edit_similarity in 0..1; chrf2 in 0..100
};

struct TaskResult {
  std::string task;
  Metric primary;
  std::vector<ItemResult> items;
  double mean(Metric m) const noexcept;
};

/// Generates (or takes from `journal`) an answer to every item and scores it. `model_key` identifies model and settings
/// in the journal. Errors: resource_exhausted when an item does not fit the context (item named), cancelled, io.
TaskResult run_task(const std::shared_ptr<const Engine>& engine, const TaskSet& task, ops::KvType kv, int64_t n_ctx,
                    const std::string& model_key, Journal* journal, const Task& progress = {});

/// Scores answers without a model.
ItemResult score_item(const TaskSet& task, const TaskItem& item, std::string answer, bool truncated);

}  // namespace thimble
