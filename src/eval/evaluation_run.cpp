// Running models for an evaluation: reference answers first, then model by model, then the text. A model is opened only
// when the journal lacks something of it.
#include <algorithm>
#include <filesystem>

#include "base/work_share.h"
#include "eval/engines.h"
#include "eval/evaluation.h"
#include "eval/text_groups.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

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
    s.kv = m_.kv;
    s.n_ctx = m_.n_ctx;
    s.model_key = m_.model_key(m);
    s.journal = &journal_;
    s.only = items_[t];
    return s;
  }
  TaskFidelitySettings fidelity_settings(size_t m, size_t t) const {
    TaskFidelitySettings s = m_.fidelity_settings(m, tasks_[t]);
    s.journal = &journal_;
    s.only = items_[t];
    return s;
  }

  // Items of task t that are not in the journal for model m, and measurements.
  size_t open_answers(size_t m, size_t t) const {
    return unanswered(tasks_[t], m_.run_key(m), journal_, items_[t]).size();
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
      s.n_ctx = m_.n_ctx;
      // A folder that was asked for is shared by jobs: its files hold all items.
      if (o_.shard && o_.reference_folder.empty()) s.only = items_[t];
      s.answered = answers_of_reference(t);
      const auto source = [&] {
        if (engines.empty()) engines = open_task_engines(o_.against, engine_options(false), work.quiet());
        return engines;
      };
      const Task progress = work.part(static_cast<double>(items_[t].size()), "reference: " + tasks_[t].name);
      references_[t].emplace(reference_answers(tasks_[t], s, source, progress));
    }
  }

  // Where the reference is one of the models, its answers to task t are those of that model. A shard may have to make
  // references of items that are not its own.
  AnswerSink answers_of_reference(size_t t) {
    if (o_.shard || m_.kv != ops::KvType::f16) return {};
    const ReferenceIdentity reference = m_.reference_identity();
    const std::string run_key = answers_run_key(reference.model, reference.chat_template, m_.kv);
    bool wanted = o_.keep_reference_answers;
    for (size_t m = 0; m < m_.models.size(); ++m) wanted = wanted || (has_model(m) && m_.run_key(m) == run_key);
    return wanted ? answers_into(journal_, tasks_[t], run_key) : AnswerSink();
  }

  void run_model(size_t m, WorkShare& work) {
    std::vector<std::shared_ptr<const Engine>> engines;  // opened for the first task that needs them
    for (size_t t = 0; t < tasks_.size(); ++t) {
      const auto n = static_cast<double>(items_[t].size());
      const std::string label = m_.models[m].name + ": " + tasks_[t].name;
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

  void run_text(WorkShare& work) {
    std::vector<size_t> todo;
    for (size_t m = 0; m < m_.models.size(); ++m) {
      if (!has_text(m)) continue;
      if (text_from_journal(m_.text_run(m), journal_)) {
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
    s.kv = m_.kv;
    s.reference_key = m_.text_run(todo[begin]).reference_key;
    s.journal = &journal_;
    s.text_source = o_.text;
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

}  // namespace

void run_evaluation(const EvaluationOptions& options, const EvaluationManifest& manifest,
                    const std::vector<TaskSet>& tasks, const std::string& text, Journal& journal,
                    const Task& progress) {
  EvaluationRun(options, manifest, tasks, text, journal).run(progress);
}

}  // namespace thimble
