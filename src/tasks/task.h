// Tasks: JSONL items (id, messages, refs, facts, cluster) with NAME.task.json beside them (prompt role, limits,
// metrics).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metrics/format_rules.h"
#include "metrics/line_items.h"
#include "text/chat_template.h"

namespace thimble {

/// What is known of each is in its row of the table in score.cpp.
enum class Metric {
  exact,
  chrf2,
  fact_recall,
  edit_similarity,
  chrf2pp,
  bleu,
  bleu_intl,
  bleu_zh,
  rouge1,
  rouge2,
  rouge_l,
  rouge_lsum,
  rouge1_stem,
  rouge2_stem,
  rouge_l_stem,
  rouge_lsum_stem,
  identifier_recall,
  items,
  items_exact,
  format,
  degeneration,
  length_ratio,
};
constexpr size_t kMetricCount = static_cast<size_t>(Metric::length_ratio) + 1;
std::string_view metric_name(Metric m) noexcept;
/// Largest value: 100 for chrF, BLEU and items, 1 for the shares. `value * 100 / metric_scale(m)` is a score in points.
double metric_scale(Metric m) noexcept;

struct TaskItem {
  std::string id;
  std::string cluster;  // id when the file has none
  std::vector<ChatMessage> messages;
  std::vector<std::string> refs;
  std::vector<std::vector<std::string>> facts;  // alternatives of each fact
  std::vector<LineItem> items{};                // what each line of the answer should be
  int64_t line = 0;                             // in the data file, from 1
};

struct TaskSet {
  std::string name;
  std::string system;                  // system prompt put before the messages; may be empty
  std::string system_role = "system";  // "user": the system prompt opens the first user message (templates without one)
  int64_t max_tokens = 128;            // generation limit
  std::vector<std::string> stop;       // texts that end the answer
  Metric primary = Metric::chrf2;
  std::vector<Metric> metrics;  // all to be reported, primary first
  FormatRules format;           // what Metric::format checks
  std::vector<TaskItem> items;
  std::string data_hash;  // content_hash of the JSONL, part of journal keys
  std::string data_path;  // the JSONL
  std::string sha256;     // of the JSONL, as the task file states it (and it was checked); may be empty
  std::string license;    // of the data; may be empty
  int64_t version = 0;
};

/// Reads every NAME.task.json of a folder, with its data, in order of name. Errors: not_found (folder, no task in it),
/// corrupt (file, line, key, found, expected; unknown keys; duplicate ids; data that is not what its sha256 says).
std::vector<TaskSet> read_tasks(const std::string& folder);
/// Reads one task. Errors: as read_tasks; resource_exhausted for files or lines longer than the limits below.
TaskSet read_task(const std::string& task_json_path);

constexpr std::string_view kTaskSuffix = ".task.json";
constexpr uint64_t kMaxTaskJsonBytes = 1 << 20;
/// A longer line is no sensible item of an evaluation, and metrics take quadratic time in its length.
constexpr uint64_t kMaxTaskLineBytes = 1 << 20;
constexpr uint64_t kMaxTaskDataBytes = uint64_t{1} << 28;
/// Bytes of one reference or fact.
constexpr uint64_t kMaxReferenceBytes = 64 << 10;

/// The conversation as the chat template gets it: system prompt of the task, then the item's messages.
std::vector<ChatMessage> task_messages(const TaskSet& task, const TaskItem& item);

}  // namespace thimble
