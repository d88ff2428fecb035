// Foreign files of prompts and answers as tasks: CSV (one row an item) and the JSONL of OpenAI evals ("input",
// "ideal").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tasks/task.h"

namespace thimble {

struct ImportedItem {
  TaskItem item;               // `line` is that of the foreign file
  Json meta = Json::object();  // columns and keys that tasks have no use for
};

/// Columns, whatever their order and case: `prompt` (or input, question), `reference` (or ideal, expected, answer,
/// output, target, ref), more references as `reference2`, ..., `id`, `cluster` (or group), `system`, `facts` (facts
/// separated by ";", alternatives of one by "|"). The delimiter is the comma, semicolon or tab with which the first
/// line has a prompt column. Other columns become meta. Items without an id are NAME-0001, ... Errors: corrupt (file,
/// line, column), as parse_csv.
std::vector<ImportedItem> parse_csv_items(std::string_view text, const std::string& source, const std::string& name);

/// {"input": text or messages, "ideal": text or texts} a line. Few-shot turns (system messages with the name
/// example_user or example_assistant) become turns of the conversation. `id`, `cluster` are taken, other keys become
/// meta. Errors: corrupt (file, line, key), unsupported (roles of tools), resource_exhausted.
std::vector<ImportedItem> parse_evals_items(std::string_view text, const std::string& source, const std::string& name);

struct ImportSettings {
  std::string name;             // of the task; letters, digits, "-", "_", "."
  std::vector<Metric> metrics;  // the first is the primary one; empty: chosen from what the items have
  int64_t max_tokens = 0;       // 0: enough for about twice the longest reference
  std::string system;           // system prompt of the task
  std::string license;
  double calibration = 0;  // share of the clusters that become NAME.calib.jsonl instead
  bool replace = false;    // files of that name that exist
};

struct ImportedTask {
  std::string task_path, data_path;
  std::string calibration_path;  // empty: none
  size_t n_items = 0, n_clusters = 0, n_calibration = 0;
  std::vector<std::string> notes;  // what a person should know: columns not used, repeated prompts dropped
};

/// Reads FILE.csv, .tsv or .jsonl and writes NAME.task.json, NAME.eval.jsonl and, with `calibration`, NAME.calib.jsonl
/// into `folder`, which is made when it does not exist. Nothing is written before all was read. Errors: as the parsers;
/// invalid_argument (name, extension, settings, files that exist), io.
ImportedTask import_task(const std::string& file, const std::string& folder, const ImportSettings& settings);

}  // namespace thimble
