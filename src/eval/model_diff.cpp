// Paired comparison of two files of scores.
#include "eval/model_diff.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace thimble {

namespace {

double mean_of(const std::vector<double>& x) {
  return x.empty() ? 0 : std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

std::vector<ItemChange> largest_changes(const ScoredTask& before, const ScoredTask& after, const TaskDiff& diff,
                                        size_t n) {
  const std::vector<double> b = points_of(before, diff.metric), a = points_of(after, diff.metric);
  std::vector<size_t> order;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i]) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) {
    const double dx = a[x] - b[x], dy = a[y] - b[y];
    return std::abs(dx) != std::abs(dy) ? std::abs(dx) > std::abs(dy) : dx < dy;
  });
  if (order.size() > n) order.resize(n);
  std::vector<ItemChange> out;
  for (const size_t i : order) {
    out.push_back({after.ids[i], b[i], a[i], before.answers.empty() ? "" : before.answers[i],
                   after.answers.empty() ? "" : after.answers[i]});
  }
  return out;
}

TaskDiff diff_task(const ScoredTask& given, const ScoredTask& after, double confidence, size_t max_changes) {
  const ScoredTask before = in_order_of(after, given);
  TaskDiff out;
  out.task = after.name;
  out.metric = before.primary;
  out.items = after.ids.size();
  const std::vector<double> a = points_of(after, out.metric), b = points_of(before, out.metric);
  out.before = mean_of(b);
  out.after = mean_of(a);
  out.difference = paired_bootstrap(a, b, after.clusters, confidence, kResamples, kBootstrapSeed);
  out.p = sign_flip_p(paired_sample(a, b, after.clusters), kResamples, kBootstrapSeed);
  out.flips = mcnemar(a, b, kPassPoints);
  for (size_t i = 0; i < a.size(); ++i) {
    out.worse += a[i] < b[i] ? 1 : 0;
    out.better += a[i] > b[i] ? 1 : 0;
  }
  out.changes = largest_changes(before, after, out, max_changes);
  return out;
}

}  // namespace

ModelDiff diff_models(const ScoredModel& before, const ScoredModel& after, double confidence, size_t max_changes) {
  ModelDiff out;
  out.before = before.name;
  out.after = after.name;
  for (const ScoredTask& task : before.tasks) {
    const ScoredTask* other = find_task(after, task.name);
    if (other == nullptr) {
      out.only_before.push_back(task.name);
    } else {
      out.tasks.push_back(diff_task(task, *other, confidence, max_changes));
    }
  }
  for (const ScoredTask& task : after.tasks) {
    if (find_task(before, task.name) == nullptr) out.only_after.push_back(task.name);
  }
  if (out.tasks.empty()) {
    fail(ErrorCode::not_found, "{} and {} have no task in common, expected one", before.name, after.name);
  }
  return out;
}

Json model_diff_json(const ModelDiff& diff) {
  Json tasks = Json::array();
  for (const TaskDiff& t : diff.tasks) {
    Json changes = Json::array();
    for (const ItemChange& c : t.changes) {
      changes.push_back({{"id", c.id},
                         {"before", c.before},
                         {"after", c.after},
                         {"answer_before", c.answer_before},
                         {"answer_after", c.answer_after}});
    }
    tasks.push_back(
        {{"task", t.task},
         {"metric", std::string(metric_name(t.metric))},
         {"items", t.items},
         {"before", t.before},
         {"after", t.after},
         {"difference", {{"mean", t.difference.mean}, {"low", t.difference.low}, {"high", t.difference.high}}},
         {"p", t.p},
         {"lost", t.flips.lost},
         {"gained", t.flips.gained},
         {"p_mcnemar", t.flips.p},
         {"worse", t.worse},
         {"better", t.better},
         {"changes", changes}});
  }
  return {{"before", diff.before},
          {"after", diff.after},
          {"tasks", tasks},
          {"only_before", diff.only_before},
          {"only_after", diff.only_after}};
}

}  // namespace thimble
