// Reader of NAME.task.json (task_data.cpp reads the items). They come from outside: every error names file, line, key,
// what was found and what was expected, and a key that nobody knows is an error, because a typo in "facts" would
// silently give everybody full marks.
#include "tasks/task.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "tasks/json_values.h"
#include "tasks/score.h"
#include "tasks/sha256.h"
#include "tasks/task_data.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxGeneratedTokens = 65536;
constexpr int64_t kMaxFormatNumber = 1 << 30;

Metric metric_from_name(const std::string& source, std::string_view key, const std::string& name) {
  if (const MetricRow* row = find_metric(name); row != nullptr) return row->metric;
  fail(ErrorCode::corrupt, "{}: key '{}': found metric '{}', expected one of {}", source, key, name, metric_names());
}

void read_generation(TaskSet& task, const Json& value, const std::string& source) {
  const JsonObject gen(value, source + ": gen");
  gen.only({"max_tokens", "stop", "temperature"});
  task.max_tokens = gen.integer("max_tokens", 1, kMaxGeneratedTokens, task.max_tokens);
  if (gen.has("stop")) task.stop = read_strings(gen.source(), "stop", gen.at("stop"));
  if (gen.number("temperature", 0.0) != 0.0) {
    fail_value(gen.source(), "temperature", gen.at("temperature"),
               "0: tasks are answered greedily, so that runs compare");
  }
}

void read_metrics(TaskSet& task, const Json& value, const std::string& source) {
  const JsonObject metrics(value, source + ": metrics");
  metrics.only({"primary", "also"});
  task.primary = metric_from_name(metrics.source(), "primary", metrics.string("primary"));
  if (metric_row(task.primary).better != Better::higher) {
    fail(ErrorCode::corrupt, "{}: key 'primary': found metric '{}', expected one of which more is better",
         metrics.source(), metric_name(task.primary));
  }
  task.metrics = {task.primary};
  if (!metrics.has("also")) return;
  for (const std::string& name : read_strings(metrics.source(), "also", metrics.at("also"))) {
    const Metric m = metric_from_name(metrics.source(), "also", name);
    if (std::find(task.metrics.begin(), task.metrics.end(), m) == task.metrics.end()) task.metrics.push_back(m);
  }
}

JsonForm json_form(const JsonObject& format) {
  const std::string name = format.string("json");
  if (name == "any") return JsonForm::any;
  if (name == "object") return JsonForm::object;
  if (name == "array") return JsonForm::array;
  fail_value(format.source(), "json", Json(name), "any, object or array");
}

void read_lines_rule(FormatRules& rules, const JsonObject& format) {
  if (!format.has("lines")) return;
  if (format.has("min_lines") || format.has("max_lines")) {
    fail(ErrorCode::corrupt, "{}: found key 'lines' and key 'min_lines' or 'max_lines', expected one of both",
         format.source());
  }
  if (format.at("lines") == Json("items")) {
    rules.lines_as_items = true;
    return;
  }
  if (format.at("lines").is_string()) fail_value(format.source(), "lines", format.at("lines"), "a number or \"items\"");
  rules.min_lines = rules.max_lines = format.integer("lines", 1, kMaxFormatNumber);
}

FormatRules read_format(const Json& value, const std::string& source) {
  const JsonObject format(value, source + ": format");
  format.only({"min_chars", "max_chars", "lines", "min_lines", "max_lines", "max_line_chars", "json", "json_keys",
               "forbid", "not_end"});
  if (value.empty()) fail_value(source, "format", value, "at least one rule");
  FormatRules rules;
  const auto number = [&](std::string_view key, int64_t* rule) {
    if (format.has(key)) *rule = format.integer(key, 0, kMaxFormatNumber);
  };
  number("min_chars", &rules.min_chars);
  number("max_chars", &rules.max_chars);
  number("min_lines", &rules.min_lines);
  number("max_lines", &rules.max_lines);
  number("max_line_chars", &rules.max_line_chars);
  read_lines_rule(rules, format);
  if (format.has("json")) rules.json = json_form(format);
  if (format.has("json_keys")) rules.json_keys = read_strings(format.source(), "json_keys", format.at("json_keys"));
  if (!rules.json_keys.empty() && rules.json != JsonForm::object) {
    fail(ErrorCode::corrupt, "{}: key 'json_keys' needs key 'json' to be \"object\"", format.source());
  }
  if (format.has("forbid")) rules.forbid = read_strings(format.source(), "forbid", format.at("forbid"));
  if (format.has("not_end")) rules.not_end = read_strings(format.source(), "not_end", format.at("not_end"));
  if (rules.min_chars > rules.max_chars || rules.min_lines > rules.max_lines) {
    fail(ErrorCode::corrupt, "{}: found a least number above the greatest, expected one that answers can keep",
         format.source());
  }
  return rules;
}

// A string, or an array of them: one line each. For people, not read.
void check_comment(const JsonObject& object) {
  if (!object.has("comment") || object.at("comment").is_string()) return;
  (void)read_strings(object.source(), "comment", object.at("comment"));
}

void check_sum(const TaskSet& task, const std::string& content, const std::string& source) {
  if (task.sha256.empty()) return;
  if (task.sha256.size() != 64 || task.sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
    fail_value(source, "sha256", Json(task.sha256), "64 digits 0-9 and a-f");
  }
  const std::string found = sha256(content);
  if (found != task.sha256) {
    fail(ErrorCode::corrupt,
         "{}: key 'sha256': found {} for {}, expected {}: the data is not what the task was made of", source, found,
         task.data_path, task.sha256);
  }
}

void read_data(TaskSet& task, const std::string& source) {
  const std::string content = read_file(task.data_path, kMaxTaskDataBytes);
  task.data_hash = content_hash(content);
  check_sum(task, content, source);
  task.items = parse_items(content, task.data_path, {task.metrics, task.primary, task.format.lines_as_items, false});
}

}  // namespace

TaskSet read_task(const std::string& task_json_path) {
  const Json json = read_json_file(task_json_path, kMaxTaskJsonBytes);
  const JsonObject object(json, task_json_path);
  object.only({"task", "version", "data", "sha256", "license", "source", "comment", "system", "role", "gen", "metrics",
               "format"});
  TaskSet task;
  task.name = read_string(task_json_path, "task", object.at("task"));
  task.version = object.integer("version", 0, INT32_MAX, 0);
  task.license = object.string("license", "");
  if (object.has("source")) (void)object.string("source");
  check_comment(object);
  task.sha256 = object.string("sha256", "");
  task.system = object.string("system", "");
  task.system_role = object.string("role", "system");
  if (task.system_role != "system" && task.system_role != "user") {
    fail_value(task_json_path, "role", object.at("role"), "system or user: who speaks the system prompt");
  }
  if (object.has("gen")) read_generation(task, object.at("gen"), task_json_path);
  read_metrics(task, object.at("metrics"), task_json_path);
  if (object.has("format")) {
    task.format = read_format(object.at("format"), task_json_path);
  } else if (std::find(task.metrics.begin(), task.metrics.end(), Metric::format) != task.metrics.end()) {
    fail(ErrorCode::corrupt, "{}: key 'format' is missing, expected rules: metric format checks them", task_json_path);
  }
  task.data_path =
      (fs::path(task_json_path).parent_path() / read_string(task_json_path, "data", object.at("data"))).string();
  read_data(task, task_json_path);
  return task;
}

std::vector<TaskSet> read_tasks(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) {
    fail(error == std::errc::no_such_file_or_directory ? ErrorCode::not_found : ErrorCode::io,
         "{}: cannot read the folder of tasks: {}", folder, error.message());
  }
  std::vector<std::string> paths;
  for (const fs::directory_entry& entry : entries) {
    if (entry.path().filename().string().ends_with(kTaskSuffix)) paths.push_back(entry.path().string());
  }
  if (paths.empty()) fail(ErrorCode::not_found, "{}: found no task, expected a file NAME{}", folder, kTaskSuffix);
  std::sort(paths.begin(), paths.end());
  std::vector<TaskSet> tasks;
  for (const std::string& path : paths) {
    tasks.push_back(read_task(path));
    for (size_t i = 0; i + 1 < tasks.size(); ++i) {
      if (tasks[i].name == tasks.back().name) {
        fail(ErrorCode::corrupt, "{}: key 'task': found '{}' a second time, expected a name of its own for each task",
             path, tasks.back().name);
      }
    }
  }
  return tasks;
}

std::vector<ChatMessage> task_messages(const TaskSet& task, const TaskItem& item) {
  std::vector<ChatMessage> messages = item.messages;
  if (task.system.empty()) return messages;
  if (task.system_role == "system") {
    messages.insert(messages.begin(), ChatMessage{"system", task.system});
    return messages;
  }
  const auto first =
      std::find_if(messages.begin(), messages.end(), [](const ChatMessage& m) { return m.role == "user"; });
  first->content = task.system + "\n\n" + first->content;  // read_messages made sure that there is one
  return messages;
}

}  // namespace thimble
