#include "tasks/task_import.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "tasks/score.h"
#include "tasks/task_check.h"
#include "tasks/task_data.h"
#include "tasks/task_write.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

std::vector<ImportedItem> parse_file(const std::string& file, const std::string& name) {
  const std::string extension = fs::path(file).extension().string();
  if (extension == ".csv" || extension == ".tsv") {
    return parse_csv_items(read_file(file, kMaxTaskDataBytes), file, name);
  }
  if (extension == ".jsonl") return parse_evals_items(read_file(file, kMaxTaskDataBytes), file, name);
  fail(ErrorCode::invalid_argument, "{}: found the extension '{}', expected .csv, .tsv or .jsonl", file, extension);
}

void check_ids(const std::vector<ImportedItem>& items, const std::string& file) {
  std::unordered_set<std::string> ids;
  for (const ImportedItem& i : items) {
    if (ids.insert(i.item.id).second) continue;
    fail(ErrorCode::corrupt,
         "{}: line {}: key 'id': found '{}' a second time, expected a name of its own for each item", file, i.item.line,
         printable(i.item.id));
  }
}

// About two bytes a token: twice the tokens of English and about those of scripts that tokenizers know less well.
int64_t default_max_tokens(const std::vector<ImportedItem>& items) {
  size_t longest = 0;
  for (const ImportedItem& i : items) {
    for (const std::string& reference : i.item.refs) longest = std::max(longest, reference.size());
  }
  const auto tokens = static_cast<int64_t>(longest / 2 + 32);
  return std::min<int64_t>((tokens + 15) / 16 * 16, 1024);
}

std::vector<Metric> default_metrics(const std::vector<ImportedItem>& items) {
  std::vector<Metric> out = {Metric::chrf2, Metric::exact, Metric::edit_similarity};
  const bool facts =
      std::any_of(items.begin(), items.end(), [](const ImportedItem& i) { return !i.item.facts.empty(); });
  if (facts) out.push_back(Metric::fact_recall);
  out.insert(out.end(), {Metric::degeneration, Metric::length_ratio});
  return out;
}

void check_settings(const ImportSettings& s) {
  if (!is_task_name(s.name)) {
    fail(ErrorCode::invalid_argument, "--name: found '{}', expected letters, digits, '-', '_' and '.'",
         printable(s.name));
  }
  if (!(s.calibration >= 0.0 && s.calibration < 1.0)) {
    fail(ErrorCode::invalid_argument, "--calibration: found {}, expected a share from 0 to below 1", s.calibration);
  }
  for (const Metric m : s.metrics) {
    if (metric_row(m).needs != Needs::format) continue;
    fail(ErrorCode::invalid_argument, "--metric: {} needs rules, which are not imported: write them into {}.task.json",
         metric_name(m), s.name);
  }
  if (!s.metrics.empty() && metric_row(s.metrics.front()).better != Better::higher) {
    fail(ErrorCode::invalid_argument, "--metric: found {} in first place, expected one of which more is better",
         metric_name(s.metrics.front()));
  }
}

// Whether a cluster becomes calibration: by its name alone, so that a later import of more items keeps the split.
bool for_calibration(const std::string& cluster, double share) {
  const uint64_t draw = std::stoull(content_hash(cluster).substr(0, 8), nullptr, 16);
  return static_cast<double>(draw) < share * 4294967296.0;
}

struct Split {
  std::vector<ImportedItem> evaluation, calibration;
};

Split split(std::vector<ImportedItem> items, double share, ImportedTask& out) {
  Split parts;
  std::unordered_set<std::string> evaluated;
  for (ImportedItem& i : items) {
    if (for_calibration(i.item.cluster, share)) {
      parts.calibration.push_back(std::move(i));
    } else {
      evaluated.insert(prompt_identity(i.item));
      parts.evaluation.push_back(std::move(i));
    }
  }
  const size_t dropped = std::erase_if(
      parts.calibration, [&](const ImportedItem& i) { return evaluated.contains(prompt_identity(i.item)); });
  if (dropped > 0) {
    out.notes.push_back(fmt::format("{} items left out of the calibration file: their prompts are evaluated", dropped));
  }
  if (share > 0.0 && (parts.calibration.empty() || parts.evaluation.empty())) {
    fail(ErrorCode::invalid_argument,
         "--calibration {}: {} items to evaluate and {} to calibrate on, expected both: {}", share,
         parts.evaluation.size(), parts.calibration.size(),
         "the clusters are too few to be divided so, or another share is needed");
  }
  return parts;
}

void note_repetitions(const std::vector<ImportedItem>& items, ImportedTask& out) {
  std::set<std::string> unused;
  std::unordered_set<std::string> prompts;
  size_t repeated = 0;
  for (const ImportedItem& i : items) {
    for (const auto& [key, value] : i.meta.items()) unused.insert(printable(key));
    repeated += !prompts.insert(prompt_identity(i.item)).second;
  }
  for (const std::string& key : unused) out.notes.push_back(fmt::format("'{}' is kept as meta and not scored", key));
  if (repeated > 0) out.notes.push_back(fmt::format("{} prompts are there more than once", repeated));
}

void refuse_existing(const ImportedTask& out, bool replace) {
  std::error_code ignored;
  for (const std::string& path : {out.task_path, out.data_path, out.calibration_path}) {
    if (replace || path.empty() || !fs::exists(path, ignored)) continue;
    fail(ErrorCode::invalid_argument, "{}: is there already, expected a new name, or --force to replace it", path);
  }
}

}  // namespace

ImportedTask import_task(const std::string& file, const std::string& folder, const ImportSettings& settings) {
  check_settings(settings);
  std::vector<ImportedItem> items = parse_file(file, settings.name);
  check_ids(items, file);
  TaskSet task;
  task.name = settings.name;
  task.version = 1;
  task.license = settings.license;
  task.system = settings.system;
  task.max_tokens = settings.max_tokens > 0 ? settings.max_tokens : default_max_tokens(items);
  task.metrics = settings.metrics.empty() ? default_metrics(items) : settings.metrics;
  task.primary = task.metrics.front();
  for (const ImportedItem& i : items) task.items.push_back(i.item);
  check_demands(task.items, file, {task.metrics, task.primary, false, false});

  ImportedTask out;
  const std::string stem = (fs::path(folder) / settings.name).string();
  out.task_path = stem + ".task.json";
  out.data_path = stem + ".eval.jsonl";
  if (settings.calibration > 0) out.calibration_path = stem + ".calib.jsonl";
  refuse_existing(out, settings.replace);
  note_repetitions(items, out);
  const Split parts = split(std::move(items), settings.calibration, out);
  std::set<std::string> clusters;
  for (const ImportedItem& i : parts.evaluation) clusters.insert(i.item.cluster);
  out.n_items = parts.evaluation.size();
  out.n_clusters = clusters.size();
  out.n_calibration = parts.calibration.size();

  const std::string data = items_text(parts.evaluation, ItemUse::evaluation);
  task.data_path = out.data_path;
  // Read back before anything is written: what import lets through, every reader must take.
  (void)parse_items(data, out.data_path, {task.metrics, task.primary, false, false});
  make_folder(folder);
  if (!out.calibration_path.empty()) {
    write_file_atomically(out.calibration_path, items_text(parts.calibration, ItemUse::calibration));
  }
  write_file_atomically(out.data_path, data);
  const Json comment = fmt::format("Imported from {}.", printable(fs::path(file).filename().string()));
  write_file_atomically(out.task_path, task_text(task, data, comment));
  return out;
}

}  // namespace thimble
