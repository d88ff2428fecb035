// Joining shards: every check that tells a good set from a bad one, then the union of their journals.
#include <algorithm>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "eval/evaluation.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

struct FoundShard {
  std::string folder;
  EvaluationManifest manifest;
};

std::vector<FoundShard> find_shards(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) {
    fail(error == std::errc::no_such_file_or_directory ? ErrorCode::not_found : ErrorCode::io,
         "{}: cannot read the folder of shards: {}", folder, error.message());
  }
  std::vector<std::string> paths;
  for (const fs::directory_entry& entry : entries) {
    if (entry.is_directory(error) && fs::exists(entry.path() / kManifestFile, error)) {
      paths.push_back(entry.path().string());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<FoundShard> out;
  for (const std::string& path : paths) {
    FoundShard found{path, read_manifest(path)};
    if (found.manifest.shard) out.push_back(std::move(found));
  }
  if (out.empty()) {
    fail(ErrorCode::not_found, "{}: found no shard, expected folders such as shard-0-of-4 with {}", folder,
         kManifestFile);
  }
  return out;
}

void check_set(const std::string& folder, const std::vector<FoundShard>& shards) {
  std::map<size_t, std::string> by_index;
  for (const FoundShard& s : shards) {
    const std::string difference = different_input(shards.front().manifest, s.manifest);
    if (!difference.empty()) {
      fail(ErrorCode::invalid_argument, "{} and {}: found shards of different inputs, expected the same: {}",
           shards.front().folder, s.folder, difference);
    }
    const auto [at, fresh] = by_index.emplace(s.manifest.shard->index, s.folder);
    if (!fresh) {
      fail(ErrorCode::invalid_argument, "{} and {}: found shard {} twice, expected it once", at->second, s.folder,
           shard_name(*s.manifest.shard));
    }
  }
  const Shard& any = *shards.front().manifest.shard;
  std::vector<std::string> missing;
  for (size_t i = 0; i < any.count; ++i) {
    if (!by_index.contains(i)) missing.push_back(shard_name({i, any.count, any.by}));
  }
  if (missing.empty()) return;
  const size_t shown = std::min<size_t>(missing.size(), 10);
  fail(ErrorCode::not_found, "{}: found {} of {} shards; missing: {}{}", folder, by_index.size(), any.count,
       fmt::join(missing.begin(), missing.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
       shown < missing.size() ? ", ..." : "");
}

// The manifest of the whole: what one shard did not look at, another did.
EvaluationManifest join_manifests(const std::vector<FoundShard>& shards) {
  EvaluationManifest out = shards.front().manifest;
  for (const FoundShard& s : shards) {
    for (size_t m = 0; m < out.models.size(); ++m) {
      if (out.models[m].hash.empty()) out.models[m] = s.manifest.models[m];
    }
  }
  out.shard.reset();
  return out;
}

// Shards of models by candidate have looked at different ones: after joining, all must agree with the whole.
void check_models(const EvaluationManifest& whole, const std::vector<FoundShard>& shards) {
  for (const FoundShard& s : shards) {
    const std::string difference = different_input(whole, s.manifest);
    if (difference.empty()) continue;
    fail(ErrorCode::invalid_argument, "{}: found another input than the other shards: {}", s.folder, difference);
  }
}

std::optional<size_t> unfinished_items(const EvaluationManifest& whole, const FoundShard& found,
                                       const std::vector<TaskSet>& tasks, const Journal& journal) {
  const Shard& shard = *found.manifest.shard;
  size_t missing = 0;
  for (size_t m = 0; m < whole.models.size(); ++m) {
    const std::string key = whole.model_key(m);
    const std::string run_key = answers_run_key(key, whole.models[m].chat_template, whole.kv);
    for (size_t t = 0; shard.has_model(m) && t < tasks.size(); ++t) {
      TaskFidelitySettings s;
      s.kv = whole.kv;
      s.model_key = key;
      s.only = shard_items(tasks, t, shard);
      missing += unanswered(tasks[t], run_key, journal, s.only).size();
      if (!whole.reference) continue;
      s.reference_key = reference_key(whole.reference_identity(), tasks[t]);
      missing += unmeasured(tasks[t], s, journal).size();
    }
    if (whole.text_hash.empty() || !shard.has_text(m)) continue;
    const std::string reference = whole.reference ? whole.reference_identity().model : "";
    const TextRun run{key, reference, whole.text_hash, whole.models[m].text_context, whole.kv};
    if (!text_from_journal(run, journal)) ++missing;
  }
  return missing == 0 ? std::nullopt : std::optional(missing);
}

void join_journals(const EvaluationManifest& whole, const std::vector<FoundShard>& shards,
                   const std::vector<TaskSet>& tasks, Journal& joined) {
  std::string unfinished;
  for (const FoundShard& s : shards) {
    const std::string path = (fs::path(s.folder) / kJournalFile).string();
    std::error_code ignored;
    const Journal part = fs::exists(path, ignored) ? Journal(path) : Journal();
    if (const auto missing = unfinished_items(whole, s, tasks, part)) {
      unfinished +=
          fmt::format("{}{} ({} missing)", unfinished.empty() ? "" : ", ", shard_name(*s.manifest.shard), *missing);
      continue;
    }
    for (const std::string& key : part.keys()) {
      const std::optional<std::string> value = part.find(key), known = joined.find(key);
      if (!known) {
        joined.append(key, *value);
      } else if (*known != *value) {
        fail(ErrorCode::corrupt, "{}: '{}': found another result than in an earlier shard", path, key);
      }
    }
  }
  if (unfinished.empty()) return;
  fail(ErrorCode::not_found, "found shards that are not finished: {}; run them again, they go on where they stopped",
       unfinished);
}

}  // namespace

Evaluation merge_shards(const std::string& folder, const std::string& tasks_folder) {
  const std::vector<FoundShard> shards = find_shards(folder);
  check_set(folder, shards);
  const EvaluationManifest whole = join_manifests(shards);
  check_models(whole, shards);
  std::vector<TaskSet> tasks;
  if (!whole.tasks.empty()) tasks = read_tasks(tasks_folder.empty() ? whole.tasks_folder : tasks_folder);
  const fs::path base(folder);
  {
    Journal joined((base / kJournalFile).string());
    join_journals(whole, shards, tasks, joined);
  }
  write_manifest(folder, whole);
  return rescore(folder, tasks_folder);
}

}  // namespace thimble
