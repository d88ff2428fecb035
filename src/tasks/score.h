// The table of metrics: everything that is known of a metric (name, scale, which way is better, what it compares with,
// how one answer is scored) is its row in score.cpp. A new metric is an enumerator in task.h and a row there.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "tasks/task.h"

namespace thimble {

enum class Better { higher, lower, neither };  // neither: reported, never decides (length_ratio)

/// What a metric compares an answer with. Items without it are an error of the file, since a missing reference would
/// give every model the same marks.
enum class Needs { nothing, refs, facts, items, format };

/// One answer to be scored.
struct AnswerView {
  const TaskSet& task;
  const TaskItem& item;
  std::string_view text;
  bool truncated;
};

struct MetricRow {
  Metric metric;
  std::string_view name;  // in task files and reports
  double scale;           // the value of a perfect answer: 100 or 1
  Better better;
  Needs needs;
  double (*score)(const AnswerView& answer);
  std::string_view meaning;  // one line for documents and `thimble tasks new`
};

/// All metrics, in the order of the enumeration.
std::span<const MetricRow> metric_table() noexcept;
const MetricRow& metric_row(Metric m) noexcept;
/// Null when no metric has that name.
const MetricRow* find_metric(std::string_view name) noexcept;
/// "exact, chrf2, ...": for messages.
std::string metric_names();

/// An answer and what it is worth by every metric of its task, on the scale of the metric's row.
struct ItemResult {
  std::string id;
  std::string cluster;
  std::string answer;
  bool truncated = false;  // hit the generation limit
  std::map<Metric, double> scores;
};

/// Scores an answer without a model.
ItemResult score_item(const TaskSet& task, const TaskItem& item, std::string answer, bool truncated);

}  // namespace thimble
