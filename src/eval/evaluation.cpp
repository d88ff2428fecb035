// Running an evaluation: reference answers first, then model by model, then the text. A model is opened only when the
// journal lacks something of it.
#include "eval/evaluation.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/work_share.h"
#include "eval/engines.h"
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
  m.text_context = o.n_ctx > 0 ? o.n_ctx : std::min(kTextChunk, read_model_config(gguf).n_ctx_train);
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

class EvaluationRun {
 public:
  EvaluationRun(const EvaluationOptions& options, const EvaluationManifest& manifest, const std::vector<TaskSet>& tasks,
                const std::string& text, Journal& journal)
      : o_(options), m_(manifest), tasks_(tasks), text_(text), journal_(journal) {
    for (size_t t = 0; t < tasks.size(); ++t) {
      items_.push_back(shard_items(tasks, t, options.shard.value_or(Shard{})));
    }
    references_.resize(tasks.size());
  }

  void run(const Task& progress) {
    WorkShare work(progress, total_work());
    make_references(work);
    for (size_t m = 0; m < m_.models.size(); ++m) {
      if (has_model(m)) run_model(m, work);
    }
    run_text(work);
  }

 private:
  bool has_model(size_t m) const { return !o_.shard || o_.shard->has_model(m); }
  bool has_text(size_t m) const { return !m_.text_hash.empty() && (!o_.shard || o_.shard->has_text(m)); }

  TaskRunSettings run_settings(size_t m, size_t t) const {
    TaskRunSettings s;
    s.kv = o_.kv;
    s.n_ctx = o_.n_ctx;
    s.model_key = m_.model_key(m);
    s.journal = &journal_;
    s.only = items_[t];
    return s;
  }
  TaskFidelitySettings fidelity_settings(size_t m, size_t t) const {
    TaskFidelitySettings s;
    s.kv = o_.kv;
    s.n_ctx = o_.n_ctx;
    s.model_key = m_.model_key(m);
    s.reference_key = reference_key(m_.reference_identity(), tasks_[t]);
    s.journal = &journal_;
    s.only = items_[t];
    return s;
  }

  // Items of task t that are not in the journal for model m, and measurements.
  size_t open_answers(size_t m, size_t t) const {
    const std::string key = answers_run_key(m_.model_key(m), m_.models[m].chat_template, m_.kv);
    return unanswered(tasks_[t], key, journal_, items_[t]).size();
  }
  size_t open_measurements(size_t m, size_t t) const {
    return m_.reference ? unmeasured(tasks_[t], fidelity_settings(m, t), journal_).size() : 0;
  }
  bool needs_reference(size_t t) const {
    for (size_t m = 0; m < m_.models.size(); ++m) {
      if (has_model(m) && open_measurements(m, t) > 0) return true;
    }
    return false;
  }

  double total_work() const {
    double total = 0;
    for (size_t t = 0; t < tasks_.size(); ++t) {
      const auto n = static_cast<double>(items_[t].size());
      if (needs_reference(t)) total += n;
      for (size_t m = 0; m < m_.models.size(); ++m) {
        if (has_model(m)) total += n * (1 + (m_.reference ? kFidelityWork : 0));
      }
    }
    for (size_t m = 0; m < m_.models.size(); ++m) total += has_text(m) ? kTextWork : 0;
    return total;
  }

  EngineOptions engine_options(bool is_candidate) const {
    EngineOptions out = o_.engine;
    // The packed file is of one model, and neither a reference nor a sweep should leave gigabytes in the cache.
    if (!is_candidate || o_.models.size() > 1) {
      out.packing.file.clear();
      out.packing.folder.clear();
    }
    return out;
  }

  void make_references(WorkShare& work) {
    std::vector<std::shared_ptr<const Engine>> engines;  // opened for the first task that needs them
    for (size_t t = 0; t < tasks_.size(); ++t) {
      if (!needs_reference(t)) continue;
      ReferenceSettings s;
      s.folder = o_.reference_folder.empty() ? (fs::path(o_.output) / "reference").string() : o_.reference_folder;
      s.identity = m_.reference_identity();
      s.n_ctx = o_.n_ctx;
      // A folder that was asked for is shared by jobs: its files hold all items.
      if (o_.shard && o_.reference_folder.empty()) s.only = items_[t];
      s.answered = answers_of_reference(t);
      const auto source = [&] {
        if (engines.empty()) engines = open_task_engines(o_.against, engine_options(false), work.quiet());
        return engines;
      };
      const Task progress = work.part(static_cast<double>(items_[t].size()), "reference " + tasks_[t].name);
      references_[t].emplace(reference_answers(tasks_[t], s, source, progress));
    }
  }

  // Where the reference is one of the models, its answers to task t are those of that model. A shard may have to make
  // references of items that are not its own.
  AnswerSink answers_of_reference(size_t t) {
    if (o_.shard) return {};
    const ReferenceIdentity reference = m_.reference_identity();
    for (size_t m = 0; m < m_.models.size(); ++m) {
      const bool same = m_.model_key(m) == reference.model && m_.models[m].chat_template == reference.chat_template;
      if (!same || !has_model(m) || m_.kv != ops::KvType::f16) continue;
      return answers_into(journal_, tasks_[t], answers_run_key(m_.model_key(m), reference.chat_template, m_.kv));
    }
    return {};
  }

  void run_model(size_t m, WorkShare& work) {
    std::vector<std::shared_ptr<const Engine>> engines;  // opened for the first task that needs them
    for (size_t t = 0; t < tasks_.size(); ++t) {
      const auto n = static_cast<double>(items_[t].size());
      const std::string label = m_.models[m].name + " " + tasks_[t].name;
      const bool measure = open_measurements(m, t) > 0;
      const Task progress = work.part(n * (1 + (m_.reference ? kFidelityWork : 0)), label);
      if (!measure && open_answers(m, t) == 0) continue;
      if (engines.empty()) engines = open_task_engines(o_.models[m], engine_options(true), work.quiet());
      if (measure) {
        (void)answer_and_measure(engines, tasks_[t], *references_[t], run_settings(m, t), fidelity_settings(m, t),
                                 progress);
      } else {
        (void)run_task(engines, tasks_[t], run_settings(m, t), progress);
      }
    }
  }

  TextRun text_run(size_t m) const {
    const std::string reference = m_.reference ? m_.reference_identity().model : "";
    return {m_.model_key(m), reference, m_.text_hash, m_.models[m].text_context, m_.kv};
  }

  void run_text(WorkShare& work) {
    std::vector<size_t> todo;
    for (size_t m = 0; m < m_.models.size(); ++m) {
      if (!has_text(m)) continue;
      if (text_from_journal(text_run(m), journal_)) {
        (void)work.part(kTextWork, "");
      } else {
        todo.push_back(m);
      }
    }
    if (todo.empty()) return;
    std::shared_ptr<const Engine> reference;
    if (m_.reference) reference = Engine::open(o_.against, engine_options(false), work.quiet());
    for (size_t begin = 0; begin < todo.size();) begin = run_text_of_context(todo, begin, reference, work);
  }

  // The models from `begin` on whose chunks are as long; returns the first one after them.
  size_t run_text_of_context(const std::vector<size_t>& todo, size_t begin,
                             const std::shared_ptr<const Engine>& reference, WorkShare& work) {
    FidelitySettings s;
    s.n_ctx = m_.models[todo[begin]].text_context;
    s.kv = o_.kv;
    s.reference_key = m_.reference ? m_.reference_identity().model : "";
    s.journal = &journal_;
    std::vector<TextModel> models;
    size_t end = begin;
    for (; end < todo.size() && m_.models[todo[end]].text_context == s.n_ctx; ++end) {
      models.push_back({o_.models[todo[end]], m_.model_key(todo[end])});
    }
    (void)measure_in_groups(models, engine_options(true), reference, text_, s,
                            work.part(kTextWork * static_cast<double>(models.size()), "perplexity"));
    return end;
  }

  const EvaluationOptions& o_;
  const EvaluationManifest& m_;
  const std::vector<TaskSet>& tasks_;
  const std::string& text_;
  Journal& journal_;
  std::vector<std::vector<size_t>> items_;                   // of each task: this shard's
  std::vector<std::optional<ReferenceAnswers>> references_;  // of each task
};

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
  const std::string folder = run_folder(o);
  if (folder.empty()) {
    Journal journal;
    EvaluationRun(o, manifest, tasks, text, journal).run(progress);
    return score_evaluation(manifest, std::move(tasks), journal);
  }
  if (o.shard) check_siblings(o.output, manifest);
  o.output = folder;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ErrorCode::io, "{}: cannot make the folder: {}", folder, error.message());
  Journal journal((fs::path(folder) / kJournalFile).string());
  write_manifest(folder, manifest);
  EvaluationRun(o, manifest, tasks, text, journal).run(progress);
  if (o.shard) return {manifest, std::move(tasks), {}};
  Evaluation out = score_evaluation(manifest, std::move(tasks), journal);
  write_file_atomically((fs::path(folder) / kResultsFile).string(), evaluation_json(out));
  return out;
}

}  // namespace thimble
