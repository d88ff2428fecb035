// Reader of task files. They come from outside: every error names file, line, key, what was found and what was
// expected, and a key that nobody knows is an error, because a typo in "facts" would silently give everybody full
// marks.
#include "eval/task.h"

#include <algorithm>
#include <filesystem>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "eval/score.h"
#include "text/unicode.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTaskJsonBytes = 1 << 20;
constexpr int64_t kMaxGeneratedTokens = 65536;
constexpr std::string_view kTaskSuffix = ".task.json";

[[noreturn]] void fail_item(const std::string& source, std::string_view key, const Json& found,
                            std::string_view expected) {
  fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected {}", source, key, describe_json(found), expected);
}

Metric metric_from_name(const std::string& source, std::string_view key, const std::string& name) {
  if (const MetricRow* row = find_metric(name); row != nullptr) return row->metric;
  fail(ErrorCode::corrupt, "{}: key '{}': found metric '{}', expected one of {}", source, key, name, metric_names());
}

// A list of non-empty strings; `value` may itself be empty.
std::vector<std::string> read_strings(const std::string& source, std::string_view key, const Json& value) {
  if (!value.is_array()) fail_item(source, key, value, "an array of strings");
  std::vector<std::string> out;
  for (const Json& element : value) {
    if (!element.is_string() || element.get_ref<const std::string&>().empty()) {
      fail_item(source, key, element, "a string that is not empty");
    }
    out.push_back(element.get<std::string>());
    if (out.back().size() > kMaxReferenceBytes) {
      fail(ErrorCode::resource_exhausted, "{}: key '{}': found a string of {} bytes, expected at most {}", source, key,
           out.back().size(), kMaxReferenceBytes);
    }
  }
  return out;
}

std::vector<ChatMessage> read_messages(const std::string& source, const Json& value) {
  if (!value.is_array() || value.empty()) fail_item(source, "messages", value, "an array of at least one message");
  std::vector<ChatMessage> out;
  for (size_t i = 0; i < value.size(); ++i) {
    const JsonObject message(value[i], fmt::format("{}: messages[{}]", source, i));
    message.only({"role", "content"});
    ChatMessage m{message.string("role"), message.string("content")};
    if (m.role != "system" && m.role != "user" && m.role != "assistant") {
      fail_item(message.source(), "role", Json(m.role), "system, user or assistant");
    }
    out.push_back(std::move(m));
  }
  if (out.back().role != "user") {
    fail(ErrorCode::corrupt, "{}: key 'messages': found a last message of role {}, expected user: the model answers it",
         source, out.back().role);
  }
  return out;
}

std::vector<std::vector<std::string>> read_facts(const std::string& source, const Json& value) {
  if (!value.is_array()) fail_item(source, "facts", value, "an array of arrays of alternatives");
  std::vector<std::vector<std::string>> out;
  for (const Json& fact : value) {
    if (!fact.is_array() || fact.empty()) fail_item(source, "facts", fact, "an array of at least one alternative");
    out.push_back(read_strings(source, "facts", fact));
  }
  return out;
}

TaskItem read_item(const TaskSet& task, std::string_view line, const std::string& source) {
  if (!is_utf8(line)) fail(ErrorCode::corrupt, "{}: found bytes that are no UTF-8, expected UTF-8 text", source);
  const Json json = parse_json(line, source);
  const JsonObject object(json, source);
  object.only({"id", "messages", "refs", "facts", "cluster", "task", "meta", "items", "facts_auto"});
  TaskItem item;
  item.id = object.string("id");
  if (item.id.empty()) fail_item(source, "id", object.at("id"), "a name that is not empty");
  item.cluster = object.string("cluster", item.id);
  item.messages = read_messages(source, object.at("messages"));
  if (object.has("refs")) item.refs = read_strings(source, "refs", object.at("refs"));
  if (object.has("facts")) item.facts = read_facts(source, object.at("facts"));
  for (const Metric m : task.metrics) {
    if (metric_row(m).needs == Needs::refs && item.refs.empty()) {
      fail(ErrorCode::corrupt, "{}: key 'refs' is missing or empty, expected a reference: metric {} compares with it",
           source, metric_name(m));
    }
  }
  if (task.primary == Metric::fact_recall && item.facts.empty()) {
    fail(ErrorCode::corrupt, "{}: key 'facts' is missing or empty, expected facts: they are the primary metric",
         source);
  }
  return item;
}

void read_items(TaskSet& task, const std::string& path) {
  const std::string content = read_file(path, kMaxTaskDataBytes);
  task.data_hash = content_hash(content);
  std::unordered_set<std::string> ids;
  int line_number = 0;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view line = std::string_view(content).substr(at, end - at);
    at = end + 1;
    const std::string source = fmt::format("{}: line {}", path, ++line_number);
    if (line.size() > kMaxTaskLineBytes) {
      fail(ErrorCode::resource_exhausted, "{}: found {} bytes, expected at most {} in one item", source, line.size(),
           kMaxTaskLineBytes);
    }
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    TaskItem item = read_item(task, line, source);
    if (!ids.insert(item.id).second) {
      fail(ErrorCode::corrupt, "{}: key 'id': found '{}' a second time, expected a name of its own for each item",
           source, item.id);
    }
    task.items.push_back(std::move(item));
  }
  if (task.items.empty()) fail(ErrorCode::corrupt, "{}: found no items, expected one JSON object a line", path);
}

void read_generation(TaskSet& task, const Json& value, const std::string& source) {
  const JsonObject gen(value, source + ": gen");
  gen.only({"max_tokens", "stop", "temperature"});
  task.max_tokens = gen.integer("max_tokens", 1, kMaxGeneratedTokens, task.max_tokens);
  if (gen.has("stop")) task.stop = read_strings(gen.source(), "stop", gen.at("stop"));
  if (gen.number("temperature", 0.0) != 0.0) {
    fail_item(gen.source(), "temperature", gen.at("temperature"),
              "0: tasks are answered greedily, so that runs compare");
  }
}

void read_metrics(TaskSet& task, const Json& value, const std::string& source) {
  const JsonObject metrics(value, source + ": metrics");
  metrics.only({"primary", "also"});
  task.primary = metric_from_name(metrics.source(), "primary", metrics.string("primary"));
  task.metrics = {task.primary};
  if (!metrics.has("also")) return;
  for (const std::string& name : read_strings(metrics.source(), "also", metrics.at("also"))) {
    const Metric m = metric_from_name(metrics.source(), "also", name);
    if (std::find(task.metrics.begin(), task.metrics.end(), m) == task.metrics.end()) task.metrics.push_back(m);
  }
}

}  // namespace

TaskSet read_task(const std::string& task_json_path) {
  const Json json = read_json_file(task_json_path, kMaxTaskJsonBytes);
  const JsonObject object(json, task_json_path);
  object.only({"task", "version", "data", "license", "source", "system", "role", "gen", "metrics"});
  TaskSet task;
  task.name = object.string("task");
  if (task.name.empty()) fail_item(task_json_path, "task", object.at("task"), "a name that is not empty");
  if (object.has("version")) (void)object.integer("version", 0, INT32_MAX);
  if (object.has("license")) (void)object.string("license");
  if (object.has("source")) (void)object.string("source");
  task.system = object.string("system", "");
  task.system_role = object.string("role", "system");
  if (task.system_role != "system" && task.system_role != "user") {
    fail_item(task_json_path, "role", object.at("role"), "system or user: who speaks the system prompt");
  }
  if (object.has("gen")) read_generation(task, object.at("gen"), task_json_path);
  read_metrics(task, object.at("metrics"), task_json_path);
  read_items(task, (fs::path(task_json_path).parent_path() / object.string("data")).string());
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
