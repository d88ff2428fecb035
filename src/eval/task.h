// Tasks: JSONL items (id, messages, refs, facts, cluster) with NAME.task.json beside them (prompt role, limits, metrics).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/chat_template.h"

namespace thimble {

enum class Metric { exact, chrf2, fact_recall, edit_similarity };
std::string_view metric_name(Metric m) noexcept;

struct TaskItem {
  std::string id;
  std::string cluster;  // id when the file has none
  std::vector<ChatMessage> messages;
  std::vector<std::string> refs;
  std::vector<std::vector<std::string>> facts;  // alternatives of each fact
};

struct TaskSet {
  std::string name;
  std::string system;          // system prompt put before the messages; may be empty
  int64_t max_tokens = 128;    // generation limit
  std::vector<std::string> stop;  // texts that end the answer
  Metric primary = Metric::chrf2;
  std::vector<Metric> metrics;  // all to be reported, primary first
  std::vector<TaskItem> items;
  std::string data_hash;       // content_hash of the JSONL, part of journal keys
};

/// Reads every NAME.task.json of a folder, with its data, in order of name. Errors: not_found (folder, no task in it),
/// corrupt (file, line, key, found, expected; unknown keys; duplicate ids).
std::vector<TaskSet> read_tasks(const std::string& folder);
TaskSet read_task(const std::string& task_json_path);

}  // namespace thimble
