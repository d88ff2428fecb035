// An evaluation from its options to its results: what it is made from, where it is kept.
#include "eval/evaluation.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "eval/model_hash.h"
#include "eval/text_groups.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 28;

void check_options(const EvaluationOptions& o) {
  if (o.models.empty()) fail(ErrorCode::invalid_argument, "eval: found no model, expected one or more");
  if (o.text.empty() && o.tasks.empty()) {
    fail(ErrorCode::invalid_argument, "eval: found neither a text nor tasks, expected one or both");
  }
  if (o.shard && o.output.empty()) {
    fail(ErrorCode::invalid_argument, "eval: found a shard without an output folder, expected one that all jobs share");
  }
  if (!o.against.empty() && !o.tasks.empty() && o.output.empty() && o.reference_folder.empty()) {
    fail(ErrorCode::invalid_argument, "eval: found no folder for the reference's answers, expected one");
  }
  if (!o.output.empty() && fs::exists(o.output) && !fs::is_directory(o.output)) {
    fail(ErrorCode::invalid_argument, "{}: found a file, expected a folder for the evaluation", o.output);
  }
}

EvaluatedModel describe(const std::string& path, const EvaluationOptions& o) {
  const GgufFile gguf = GgufFile::open(path);
  EvaluatedModel m;
  m.name = fs::path(path).filename().string();
  m.hash = model_hash(gguf);
  m.tokenizer = tokenizer_hash(gguf);
  if (!o.tasks.empty()) {
    const ChatTemplate used = o.engine.chat_template ? *o.engine.chat_template : detect_chat_template(gguf);
    m.chat_template = chat_template_name(used);
  }
  m.text_context = o.n_ctx > 0 ? o.n_ctx : text_context(read_model_config(gguf).n_ctx_train);
  return m;
}

EvaluationManifest make_manifest(const EvaluationOptions& o, const std::vector<TaskSet>& tasks,
                                 const std::string& text) {
  EvaluationManifest m;
  m.version = THIMBLE_VERSION;
  for (size_t i = 0; i < o.models.size(); ++i) {
    // Hashing reads the whole file: a shard leaves that to the shards that run the model.
    const bool mine = !o.shard || o.shard->has_model(i) || (!o.text.empty() && o.shard->has_text(i));
    EvaluatedModel unseen;
    unseen.name = fs::path(o.models[i]).filename().string();
    m.models.push_back(mine ? describe(o.models[i], o) : unseen);
  }
  check_model_names(m.models);
  if (!o.against.empty()) m.reference = describe(o.against, o);
  m.kv = o.kv;
  m.n_ctx = o.n_ctx;
  for (const TaskSet& t : tasks) m.tasks.push_back({t.name, t.data_hash, t.items.size()});
  if (!o.tasks.empty()) m.tasks_folder = fs::absolute(o.tasks).string();
  if (!o.text.empty()) m.text_hash = content_hash(text);
  m.shard = o.shard;
  return m;
}

// A text that is too short would otherwise only be found after the tasks.
void check_text(const EvaluationOptions& o, const EvaluationManifest& m, const std::string& text) {
  if (o.text.empty() || (o.shard && !o.shard->has_text(0))) return;
  const EvaluatedModel& model = m.reference ? *m.reference : m.models.front();
  const GgufFile gguf = GgufFile::open(m.reference ? o.against : o.models.front());
  (void)tokenize_for_chunks(Tokenizer(gguf), text, model.text_context, o.text);
}

// Jobs of different inputs in one folder would only be found when all is done.
void check_siblings(const std::string& output, const EvaluationManifest& manifest) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(output, error)) {
    if (entry.path().filename() == shard_folder(*manifest.shard)) continue;
    if (!fs::exists(entry.path() / kManifestFile, error)) continue;
    const EvaluationManifest other = read_manifest(entry.path().string());
    if (!other.shard) continue;
    const std::string difference = different_input(other, manifest);
    if (difference.empty()) continue;
    fail(ErrorCode::invalid_argument,
         "{}: found a shard of other inputs, expected those of this job ({}): use another folder, or remove that one",
         entry.path().string(), difference);
  }
}

// The folder of this run: the output, or the shard's place in it. Empty: nothing is kept.
std::string run_folder(const EvaluationOptions& o) {
  if (o.output.empty()) return {};
  return o.shard ? (fs::path(o.output) / shard_folder(*o.shard)).string() : o.output;
}

}  // namespace

Evaluation evaluate(const EvaluationOptions& options, const Task& progress) {
  check_options(options);
  EvaluationOptions o = options;
  std::vector<TaskSet> tasks;
  if (!o.tasks.empty()) tasks = read_tasks(o.tasks);
  const std::string text = o.text.empty() ? std::string() : read_file(o.text, kMaxTextBytes);
  const EvaluationManifest manifest = make_manifest(o, tasks, text);
  check_text(o, manifest, text);
  const std::string folder = run_folder(o);
  if (folder.empty()) {
    Journal journal;
    run_evaluation(o, manifest, tasks, text, journal, progress);
    return score_evaluation(manifest, std::move(tasks), journal);
  }
  if (o.shard) check_siblings(o.output, manifest);
  o.output = folder;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ErrorCode::io, "{}: cannot make the folder: {}", folder, error.message());
  Journal journal((fs::path(folder) / kJournalFile).string());
  write_manifest(folder, manifest);
  run_evaluation(o, manifest, tasks, text, journal, progress);
  if (o.shard) return {manifest, std::move(tasks), {}};
  Evaluation out = score_evaluation(manifest, std::move(tasks), journal);
  write_file_atomically((fs::path(folder) / kResultsFile).string(), evaluation_json(out));
  return out;
}

}  // namespace thimble
