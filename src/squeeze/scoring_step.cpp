#include "squeeze/scoring_step.h"

#include <algorithm>
#include <iterator>

#include "base/hash.h"
#include "base/work_share.h"
#include "eval/engines.h"
#include "eval/reference_answers.h"
#include "eval/task_fidelity.h"
#include "eval/text_groups.h"

namespace thimble {

namespace {

using Engines = std::vector<std::shared_ptr<const Engine>>;

class Scoring {
 public:
  Scoring(const Candidate& baseline, const ScoringInputs& inputs) : in_(inputs) {
    reference_.folder = in_.reference_folder;
    reference_.identity = {model_key(baseline), std::string(chat_template_name(detect_chat_template(in_.float_model))),
                           tokenizer_hash(in_.float_model)};
  }

  bool is_scored(const Candidate& c) const {
    if (c.hash.empty()) return false;
    for (const TaskSet& task : in_.tasks) {
      if (!unanswered(task, run_key(c), in_.journal).empty()) return false;
      if (!unmeasured(task, fidelity_settings(c, task), in_.journal).empty()) return false;
    }
    return in_.text.empty() || text_from_journal(text_run(c, reference_.identity.model), in_.journal);
  }

  void run(Candidate& baseline, std::span<Candidate* const> candidates, const Task& progress) {
    std::vector<Candidate*> todo;
    std::copy_if(candidates.begin(), candidates.end(), std::back_inserter(todo),
                 [&](const Candidate* c) { return !is_scored(*c); });
    const double items = n_items(), text = in_.text.empty() ? 0 : kTextWork;
    const auto n = static_cast<double>(todo.size());
    // What the float model answers is its own score and the reference of the others, unless its cache differs.
    const double twice = same_cache() ? 0 : items;
    WorkShare work(progress, twice + items + n * items * (1 + kFidelityWork) + (n + 1) * text);
    score_baseline(baseline, !todo.empty(), work);
    for (Candidate* c : todo) score_candidate(*c, work);
    if (!in_.text.empty()) measure_text(baseline, todo, work);
    recall(baseline, "");
    for (Candidate* c : candidates) {
      recall(*c, reference_.identity.model);
      for (const TaskSet& task : in_.tasks) {
        c->on_answers.push_back(fidelity_from_journal(task, fidelity_settings(*c, task), in_.journal));
      }
    }
  }

 private:
  double n_items() const {
    size_t n = 0;
    for (const TaskSet& t : in_.tasks) n += t.items.size();
    return static_cast<double>(n);
  }
  std::string model_key(const Candidate& c) const { return c.hash + "/" + in_.version; }
  std::string run_key(const Candidate& c) const {
    return answers_run_key(model_key(c), reference_.identity.chat_template, in_.options.kv);
  }
  bool same_cache() const { return in_.options.kv == ops::KvType::f16; }
  EngineOptions engine_options() const {
    EngineOptions out;
    out.n_threads = in_.n_threads;
    return out;
  }
  TextRun text_run(const Candidate& c, const std::string& reference_key) const {
    const FidelitySettings s = text_settings(in_);
    return {model_key(c), reference_key, content_hash(in_.text), s.n_ctx, s.kv};
  }

  void score_baseline(const Candidate& base, bool is_reference, WorkShare& work) {
    const bool answered = std::all_of(in_.tasks.begin(), in_.tasks.end(), [&](const TaskSet& task) {
      return unanswered(task, run_key(base), in_.journal).empty();
    });
    if (answered && !is_reference) return;
    const Engines engines = open_task_engines(base.path, engine_options());
    const EngineSource source = [&engines] { return Engines(engines); };
    for (const TaskSet& task : in_.tasks) {
      const auto n = static_cast<double>(task.items.size());
      ReferenceSettings settings = reference_;
      if (same_cache()) settings.answered = answers_into(in_.journal, task, run_key(base));
      answers_.push_back(reference_answers(task, settings, source, work.part(n, label(base, task))));
      const Task progress = same_cache() ? work.quiet() : work.part(n, label(base, task));
      (void)run_task(engines, task, run_settings(base), progress);
    }
  }

  void score_candidate(const Candidate& c, WorkShare& work) {
    const Engines engines = open_task_engines(c.path, engine_options());
    for (size_t t = 0; t < in_.tasks.size(); ++t) {
      const TaskSet& task = in_.tasks[t];
      const Task progress = work.part((1 + kFidelityWork) * static_cast<double>(task.items.size()), label(c, task));
      (void)answer_and_measure(engines, task, answers_[t], run_settings(c), fidelity_settings(c, task), progress);
    }
  }

  // Answers and perplexity that the journal has of a model now.
  void recall(Candidate& c, const std::string& reference_key) const {
    for (const TaskSet& task : in_.tasks) c.tasks.push_back(score_journal(task, run_key(c), in_.journal));
    if (!in_.text.empty()) c.fidelity = text_from_journal(text_run(c, reference_key), in_.journal);
  }

  static std::string label(const Candidate& c, const TaskSet& task) { return c.recipe.name + ": " + task.name; }

  TaskRunSettings run_settings(const Candidate& c) const {
    TaskRunSettings settings;
    settings.kv = in_.options.kv;
    settings.model_key = model_key(c);
    settings.journal = &in_.journal;
    return settings;
  }

  TaskFidelitySettings fidelity_settings(const Candidate& c, const TaskSet& task) const {
    TaskFidelitySettings settings;
    settings.kv = in_.options.kv;
    settings.model_key = model_key(c);
    settings.reference_key = reference_key(reference_.identity, task);
    settings.journal = &in_.journal;
    return settings;
  }

  void measure_text(const Candidate& baseline, std::span<Candidate* const> candidates, WorkShare& work) {
    const bool known = text_from_journal(text_run(baseline, ""), in_.journal).has_value();
    if (known && candidates.empty()) return;
    FidelitySettings settings = text_settings(in_);
    const FidelityModel reference = {Engine::open(baseline.path, engine_options()), model_key(baseline)};
    (void)measure_fidelity(std::span(&reference, 1), nullptr, in_.text, settings,
                           work.part(kTextWork, "perplexity of the float model"));
    settings.reference_key = reference.key;
    std::vector<TextModel> models;
    for (const Candidate* c : candidates) models.push_back({c->path, model_key(*c)});
    const Task progress = work.part(kTextWork * static_cast<double>(candidates.size()), "perplexity");
    (void)measure_in_groups(models, engine_options(), reference.engine, in_.text, settings, progress);
  }

  const ScoringInputs& in_;
  ReferenceSettings reference_;
  std::vector<ReferenceAnswers> answers_;  // of each task
};

}  // namespace

FidelitySettings text_settings(const ScoringInputs& in) {
  FidelitySettings settings;
  settings.n_ctx = std::min(kTextChunk, in.n_ctx_train);
  settings.kv = in.options.kv;
  settings.journal = &in.journal;
  return settings;
}

bool is_scored(const Candidate& baseline, const Candidate& candidate, const ScoringInputs& inputs) {
  return Scoring(baseline, inputs).is_scored(candidate);
}

void score_models(Candidate& baseline, std::span<Candidate* const> candidates, const ScoringInputs& inputs,
                  const Task& progress) {
  Scoring(baseline, inputs).run(baseline, candidates, progress);
}

}  // namespace thimble
