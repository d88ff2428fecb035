// Two models on the same items: what `thimble report diff` says.
#pragma once

#include <string>
#include <vector>

#include "eval/scored_model.h"
#include "statistics/paired_tests.h"
#include "statistics/statistics.h"

namespace thimble {

struct ItemChange {
  std::string id;
  double before = 0, after = 0;  // points
  std::string answer_before, answer_after;
};

struct TaskDiff {
  std::string task;
  Metric metric = Metric::exact;
  size_t items = 0;
  double before = 0, after = 0;     // means, points
  PairedDifference difference;      // after - before, points
  double p = 1;                     // no difference, two-sided, by sign flips of clusters
  Flips flips;                      // lost and gained by `after`
  size_t worse = 0, better = 0;     // items whose score fell or rose at all
  std::vector<ItemChange> changes;  // largest first, losses before gains of the same size; at most what was asked for
};

struct ModelDiff {
  std::string before, after;  // names
  std::vector<TaskDiff> tasks;
  std::vector<std::string> only_before, only_after;  // names of tasks that one of the two lacks
};

/// Tasks that both have, by the primary metric of `before`, items paired by id. Errors: invalid_argument when the items
/// of a task differ; not_found when they have no task in common.
ModelDiff diff_models(const ScoredModel& before, const ScoredModel& after, double confidence, size_t max_changes);

Json model_diff_json(const ModelDiff& diff);

}  // namespace thimble
