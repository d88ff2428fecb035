// Files of item scores. They may come from an older release or from another machine: nothing in them is trusted.
#include "eval/scored_model.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "tasks/score.h"

namespace thimble {

namespace {

constexpr uint64_t kMaxScoreFileBytes = uint64_t{1} << 29;

std::vector<std::string> read_strings(const JsonObject& object, std::string_view key) {
  const Json& value = object.at(key);
  std::vector<std::string> out;
  if (value.is_array()) {
    for (const Json& v : value) {
      if (!v.is_string()) break;
      out.push_back(v.get<std::string>());
    }
  }
  if (!value.is_array() || out.size() != value.size()) {
    fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected an array of strings", object.source(), key,
         describe_json(value));
  }
  return out;
}

std::vector<double> read_numbers(const Json& value, const std::string& source, std::string_view key) {
  std::vector<double> out;
  if (value.is_array()) {
    for (const Json& v : value) {
      if (!v.is_number()) break;
      out.push_back(v.get<double>());
    }
  }
  if (!value.is_array() || out.size() != value.size()) {
    fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected an array of numbers", source, key, describe_json(value));
  }
  return out;
}

void check_count(const JsonObject& object, std::string_view key, size_t found, size_t expected) {
  if (found == expected) return;
  fail(ErrorCode::corrupt, "{}: key '{}': found {} values, expected {}, one per item", object.source(), key, found,
       expected);
}

// An item without a metric leaves a shorter list, which pairs with nothing.
void drop_partial(ScoredTask& task) {
  std::erase_if(task.scores, [&](const auto& s) { return s.second.size() != task.ids.size(); });
}

void read_name(const JsonObject& object, ScoredTask& task) {
  task.name = object.string("task");
  const std::string primary = object.string("primary");
  const MetricRow* row = find_metric(primary);
  if (row == nullptr) {
    fail(ErrorCode::corrupt, "{}: key 'primary': found metric '{}', expected one of {}", object.source(), primary,
         metric_names());
  }
  task.primary = row->metric;
}

void read_items(const JsonObject& object, ScoredTask& task) {
  read_name(object, task);
  task.data_hash = object.string("data_hash", "");
  task.ids = read_strings(object, "ids");
  task.clusters = read_strings(object, "clusters");
  check_count(object, "clusters", task.clusters.size(), task.ids.size());
}

// One item of results.json.
void read_item(const JsonObject& item, ScoredTask& task) {
  task.ids.push_back(item.string("id"));
  task.clusters.push_back(item.string("cluster"));
  task.answers.push_back(item.string("answer", ""));
  const JsonObject scores(item.at("scores"), item.source() + ": scores");
  for (const auto& [name, value] : scores.json().items()) {
    const MetricRow* row = find_metric(name);
    if (row != nullptr) task.scores[row->metric].push_back(scores.number(name));
  }
}

void read_scores(const JsonObject& object, ScoredTask& task) {
  const JsonObject scores(object.at("scores"), object.source() + ": scores");
  for (const auto& [name, values] : scores.json().items()) {
    const MetricRow* row = find_metric(name);
    if (row == nullptr) continue;  // of a newer release
    std::vector<double> numbers = read_numbers(values, scores.source(), name);
    check_count(scores, name, numbers.size(), task.ids.size());
    task.scores.emplace(row->metric, std::move(numbers));
  }
  if (!object.has("answers")) return;
  task.answers = read_strings(object, "answers");
  check_count(object, "answers", task.answers.size(), task.ids.size());
}

const Json& array_of(const JsonObject& object, std::string_view key) {
  const Json& value = object.at(key);
  if (value.is_array()) return value;
  fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected an array", object.source(), key, describe_json(value));
}

const Json& candidate_of(const JsonObject& report, const std::string& name) {
  if (name == "float") return report.at("baseline");
  const Json& candidates = array_of(report, "candidates");
  if (name.empty()) {
    if (!report.has("picked")) {
      fail(ErrorCode::not_found, "{}: nothing was picked, expected the name of a candidate", report.source());
    }
    const auto last = static_cast<int64_t>(candidates.size()) - 1;
    return candidates[static_cast<size_t>(report.integer("picked", 0, std::max<int64_t>(last, 0)))];
  }
  for (const Json& c : candidates) {
    if (JsonObject(c, report.source() + ": candidates").string("name") == name) return c;
  }
  fail(ErrorCode::not_found, "{}: found no candidate '{}'", report.source(), name);
}

ScoredModel read_report(const JsonObject& report, const std::string& name) {
  const Json& described = array_of(report, "tasks");
  if (!report.at("candidates").is_array() || (name.empty() && report.at("candidates").empty())) {
    fail(ErrorCode::not_found, "{}: found no candidates, expected a finished report", report.source());
  }
  const JsonObject chosen(candidate_of(report, name), report.source() + ": candidate");
  ScoredModel out;
  out.name = chosen.string("name");
  const Json& scored = array_of(chosen, "tasks");
  if (scored.size() != described.size()) {
    fail(ErrorCode::not_found, "{}: candidate '{}' was not scored", report.source(), out.name);
  }
  for (size_t t = 0; t < scored.size(); ++t) {
    ScoredTask& task = out.tasks.emplace_back();
    read_items(JsonObject(described[t], fmt::format("{}: tasks[{}]", report.source(), t)), task);
    read_scores(JsonObject(scored[t], fmt::format("{}: {}: tasks[{}]", report.source(), out.name, t)), task);
  }
  return out;
}

// results.json of an evaluation: items with their scores, model by model.
ScoredModel read_results(const JsonObject& results, const std::string& name) {
  const Json& models = array_of(results, "models");
  const Json* chosen = nullptr;
  for (const Json& m : models) {
    const bool fits = name.empty() || JsonObject(m, results.source() + ": models").string("name") == name;
    if (fits && chosen != nullptr) {
      fail(ErrorCode::invalid_argument, "{}: found {} models, expected the name of one", results.source(),
           models.size());
    }
    if (fits) chosen = &m;
  }
  if (chosen == nullptr) fail(ErrorCode::not_found, "{}: found no model '{}'", results.source(), name);
  const JsonObject model(*chosen, results.source() + ": model");
  ScoredModel out;
  out.name = model.string("name");
  const Json& tasks = array_of(model, "tasks");
  for (size_t t = 0; t < tasks.size(); ++t) {
    const JsonObject entry(tasks[t], fmt::format("{}: {}: tasks[{}]", results.source(), out.name, t));
    ScoredTask& task = out.tasks.emplace_back();
    read_name(entry, task);
    task.data_hash = entry.string("data", "");
    const Json& items = array_of(entry, "items");
    for (size_t i = 0; i < items.size(); ++i) {
      read_item(JsonObject(items[i], fmt::format("{}: items[{}]", entry.source(), i)), task);
    }
    drop_partial(task);
  }
  return out;
}

}  // namespace

ScoredModel scored_model(const std::string& name, std::span<const TaskSet> tasks, std::span<const TaskResult> results) {
  ScoredModel out;
  out.name = name;
  for (size_t t = 0; t < results.size(); ++t) {
    ScoredTask& task = out.tasks.emplace_back();
    task.name = results[t].task;
    task.primary = results[t].primary;
    task.data_hash = tasks[t].data_hash;
    for (const ItemResult& item : results[t].items) {
      task.ids.push_back(item.id);
      task.clusters.push_back(item.cluster);
      task.answers.push_back(item.answer);
      for (const auto& [metric, value] : item.scores) task.scores[metric].push_back(value);
    }
    drop_partial(task);
  }
  return out;
}

Json task_items_json(const TaskSet& task) {
  Json metrics = Json::array(), ids = Json::array(), clusters = Json::array();
  for (const Metric m : task.metrics) metrics.push_back(std::string(metric_name(m)));
  for (const TaskItem& item : task.items) {
    ids.push_back(item.id);
    clusters.push_back(item.cluster);
  }
  return {{"task", task.name},           {"primary", std::string(metric_name(task.primary))},
          {"metrics", metrics},          {"items", task.items.size()},
          {"data_hash", task.data_hash}, {"ids", ids},
          {"clusters", clusters}};
}

Json item_scores_json(const TaskSet& task, const TaskResult& result) {
  Json scores = Json::object(), answers = Json::array();
  for (const Metric m : task.metrics) {
    Json values = Json::array();
    for (const ItemResult& item : result.items) {
      if (const auto found = item.scores.find(m); found != item.scores.end()) values.push_back(found->second);
    }
    if (values.size() == result.items.size()) scores[std::string(metric_name(m))] = values;
  }
  for (const ItemResult& item : result.items) answers.push_back(item.answer);
  return {{"scores", scores}, {"answers", answers}};
}

ScoredModel read_scored_model(const std::string& path, const std::string& candidate) {
  const Json json = read_json_file(path, kMaxScoreFileBytes);
  const JsonObject object(json, path);
  return object.has("candidates") ? read_report(object, candidate) : read_results(object, candidate);
}

std::vector<double> points_of(const ScoredTask& task, Metric metric) {
  const auto found = task.scores.find(metric);
  if (found == task.scores.end()) {
    fail(ErrorCode::not_found, "task '{}': found no scores of metric {}, expected one per item", task.name,
         metric_name(metric));
  }
  std::vector<double> out = found->second;
  for (double& v : out) {
    v *= 100.0 / metric_scale(metric);
    if (metric_row(metric).better == Better::lower) v = 100.0 - v;
  }
  return out;
}

ScoredTask in_order_of(const ScoredTask& a, const ScoredTask& b) {
  std::unordered_map<std::string_view, size_t> place;
  for (size_t i = 0; i < b.ids.size(); ++i) place.emplace(b.ids[i], i);
  ScoredTask out = b;
  out.ids = a.ids;
  for (auto& [metric, values] : out.scores) values.assign(a.ids.size(), 0.0);
  if (!out.answers.empty()) out.answers.assign(a.ids.size(), "");
  if (a.ids.size() != b.ids.size()) {
    fail(ErrorCode::invalid_argument, "task '{}': found {} items against {}, expected the same items", a.name,
         b.ids.size(), a.ids.size());
  }
  for (size_t i = 0; i < a.ids.size(); ++i) {
    const auto found = place.find(a.ids[i]);
    if (found == place.end()) {
      fail(ErrorCode::invalid_argument, "task '{}': item '{}' is in one of the two only, expected the same items",
           a.name, a.ids[i]);
    }
    out.clusters.resize(a.ids.size());
    out.clusters[i] = b.clusters[found->second];
    for (auto& [metric, values] : out.scores) values[i] = b.scores.at(metric)[found->second];
    if (!out.answers.empty()) out.answers[i] = b.answers[found->second];
  }
  return out;
}

const ScoredTask* find_task(const ScoredModel& model, std::string_view name) noexcept {
  const auto found =
      std::find_if(model.tasks.begin(), model.tasks.end(), [&](const ScoredTask& t) { return t.name == name; });
  return found == model.tasks.end() ? nullptr : &*found;
}

}  // namespace thimble
