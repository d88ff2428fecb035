// The item scores of one model as files hold them: results.json of an evaluation and report.json of a squeeze. What
// paired comparisons between runs need: the gate against the last release, and `thimble report diff`.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/task_run.h"

namespace thimble {

struct ScoredTask {
  std::string name;
  Metric primary = Metric::exact;
  std::string data_hash;  // of the items
  std::vector<std::string> ids, clusters;
  std::map<Metric, std::vector<double>> scores;  // in the metric's own scale, by item
  std::vector<std::string> answers;              // by item; empty when the file has none
};

struct ScoredModel {
  std::string name;
  std::vector<ScoredTask> tasks;
};

/// `tasks` and `results` in the same order.
ScoredModel scored_model(const std::string& name, std::span<const TaskSet> tasks, std::span<const TaskResult> results);

/// Keys that describe the items of a task: "task", "primary", "metrics", "items" (their number), "data_hash", "ids",
/// "clusters".
Json task_items_json(const TaskSet& task);
/// Keys of a model's work on a task: "scores" (metric: one number per item) and "answers" (one text per item).
Json item_scores_json(const TaskSet& task, const TaskResult& result);

/// Reads results.json or report.json. `candidate` names a model of it ("float": a report's float model); "" is the
/// picked one of a report and the only one of results. Errors: as read_json_file; corrupt, naming key, found and
/// expected; not_found for a model that is not there or was not scored; invalid_argument when "" could be several.
ScoredModel read_scored_model(const std::string& path, const std::string& candidate = "");

/// Scores of one metric in points, 0 to 100 where larger is better. Errors: not_found when the task has no such metric.
std::vector<double> points_of(const ScoredTask& task, Metric metric);

/// Two tasks with the same items: scores of `b` in the order of `a`'s items, or an error (invalid_argument) that names
/// an item only one of them has.
ScoredTask in_order_of(const ScoredTask& a, const ScoredTask& b);

/// Null when there is no task of that name.
const ScoredTask* find_task(const ScoredModel& model, std::string_view name) noexcept;

}  // namespace thimble
