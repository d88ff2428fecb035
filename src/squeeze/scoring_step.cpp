#include "squeeze/scoring_step.h"

#include <algorithm>

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

  void run(Candidate& baseline, std::span<Candidate* const> candidates, const Task& progress) {
    const double items = n_items(), text = in_.text.empty() ? 0 : kTextWork;
    const auto n = static_cast<double>(candidates.size());
    // What the float model answers is its own score and the reference of the others, unless its cache differs.
    const double twice = in_.options.kv == ops::KvType::f16 ? 0 : items;
    WorkShare work(progress, twice + items + n * items * (1 + kFidelityWork) + (n + 1) * text);
    score_baseline(baseline, work);
    for (Candidate* c : candidates) score_candidate(*c, work);
    if (!in_.text.empty()) measure_text(baseline, candidates, work);
  }

 private:
  double n_items() const {
    size_t n = 0;
    for (const TaskSet& t : in_.tasks) n += t.items.size();
    return static_cast<double>(n);
  }
  std::string model_key(const Candidate& c) const { return c.hash + "/" + in_.version; }
  EngineOptions engine_options() const {
    EngineOptions out;
    out.n_threads = in_.n_threads;
    return out;
  }

  void score_baseline(Candidate& base, WorkShare& work) {
    const Engines engines = open_task_engines(base.path, engine_options());
    const EngineSource source = [&engines] { return Engines(engines); };
    const bool same_cache = in_.options.kv == ops::KvType::f16;
    for (const TaskSet& task : in_.tasks) {
      const auto n = static_cast<double>(task.items.size());
      const std::string run_key = answers_run_key(model_key(base), reference_.identity.chat_template, in_.options.kv);
      ReferenceSettings settings = reference_;
      if (same_cache) settings.answered = answers_into(in_.journal, task, run_key);
      answers_.push_back(reference_answers(task, settings, source, work.part(n, label(base, task))));
      const Task progress = same_cache ? work.quiet() : work.part(n, label(base, task));
      base.tasks.push_back(run_task(engines, task, run_settings(base), progress));
    }
  }

  void score_candidate(Candidate& c, WorkShare& work) {
    const Engines engines = open_task_engines(c.path, engine_options());
    for (size_t t = 0; t < in_.tasks.size(); ++t) {
      const TaskSet& task = in_.tasks[t];
      TaskFidelitySettings fidelity;
      fidelity.kv = in_.options.kv;
      fidelity.model_key = model_key(c);
      fidelity.reference_key = reference_key(reference_.identity, task);
      fidelity.journal = &in_.journal;
      const Task progress = work.part((1 + kFidelityWork) * static_cast<double>(task.items.size()), label(c, task));
      AnsweredAndMeasured both = answer_and_measure(engines, task, answers_[t], run_settings(c), fidelity, progress);
      c.tasks.push_back(std::move(both.answers));
      c.on_answers.push_back(std::move(both.fidelity));
    }
  }

  static std::string label(const Candidate& c, const TaskSet& task) { return c.recipe.name + ": " + task.name; }

  TaskRunSettings run_settings(const Candidate& c) const {
    TaskRunSettings settings;
    settings.kv = in_.options.kv;
    settings.model_key = model_key(c);
    settings.journal = &in_.journal;
    return settings;
  }

  void measure_text(Candidate& baseline, std::span<Candidate* const> candidates, WorkShare& work) {
    FidelitySettings settings = text_settings(in_);
    const FidelityModel reference = {Engine::open(baseline.path, engine_options()), model_key(baseline)};
    baseline.fidelity = measure_fidelity(std::span(&reference, 1), nullptr, in_.text, settings,
                                         work.part(kTextWork, "perplexity of the float model"))
                            .front();
    settings.reference_key = reference.key;
    std::vector<TextModel> models;
    for (const Candidate* c : candidates) models.push_back({c->path, model_key(*c)});
    const Task progress = work.part(kTextWork * static_cast<double>(candidates.size()), "perplexity");
    const std::vector<FidelityResult> results =
        measure_in_groups(models, engine_options(), reference.engine, in_.text, settings, progress);
    for (size_t i = 0; i < results.size(); ++i) candidates[i]->fidelity = results[i];
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

void score_models(Candidate& baseline, std::span<Candidate* const> candidates, const ScoringInputs& inputs,
                  const Task& progress) {
  Scoring(baseline, inputs).run(baseline, candidates, progress);
}

}  // namespace thimble
