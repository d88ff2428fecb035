#include "squeeze/scoring_step.h"

#include "base/hash.h"
#include "base/work_share.h"
#include "eval/evaluation.h"
#include "eval/text_groups.h"

namespace thimble {

namespace {

EvaluatedModel describe(const Candidate& c, const ScoringInputs& in) {
  EvaluatedModel m;
  m.name = c.recipe.name;
  m.hash = c.hash;
  m.chat_template = chat_template_name(detect_chat_template(in.float_model));
  m.tokenizer = tokenizer_hash(in.float_model);
  m.text_context = text_context(in.n_ctx_train);
  return m;
}

// `reference`: the float model, or null when it is itself what is scored.
EvaluationManifest manifest_of(std::vector<EvaluatedModel> models, const Candidate* reference,
                               const ScoringInputs& in) {
  EvaluationManifest m;
  m.version = in.version;
  m.models = std::move(models);
  if (reference != nullptr) m.reference = describe(*reference, in);
  m.kv = in.options.kv;
  if (!in.text.empty()) m.text_hash = content_hash(in.text);
  return m;
}

void evaluate_models(std::span<Candidate* const> models, const Candidate* reference, const ScoringInputs& in,
                     const Task& progress) {
  EvaluationOptions o;
  std::vector<EvaluatedModel> described;
  for (const Candidate* c : models) {
    o.models.push_back(c->path);
    described.push_back(describe(*c, in));
  }
  if (reference != nullptr) o.against = reference->path;
  o.engine.n_threads = in.n_threads;
  o.reference_folder = in.reference_folder;
  o.keep_reference_answers = true;
  const EvaluationManifest manifest = manifest_of(std::move(described), reference, in);
  run_evaluation(o, manifest, in.tasks, in.text, in.journal, progress);
  Evaluation scored = score_evaluation(manifest, in.tasks, in.journal);
  for (size_t i = 0; i < models.size(); ++i) {
    models[i]->tasks = std::move(scored.models[i].tasks);
    models[i]->on_answers = std::move(scored.models[i].fidelity);
    models[i]->fidelity = scored.models[i].text;
  }
}

}  // namespace

bool is_scored(const Candidate& baseline, const Candidate& candidate, const ScoringInputs& inputs) {
  if (candidate.hash.empty()) return false;
  const EvaluationManifest manifest = manifest_of({describe(candidate, inputs)}, &baseline, inputs);
  return is_evaluated(manifest, 0, inputs.tasks, inputs.journal);
}

void score_models(Candidate& baseline, std::span<Candidate* const> candidates, const ScoringInputs& inputs,
                  const Task& progress) {
  const auto n = static_cast<double>(candidates.size());
  WorkShare work(progress, n + 1);
  // The answers that candidates are measured against are the float model's own, so it comes last: little is left.
  evaluate_models(candidates, &baseline, inputs, work.part(n, ""));
  Candidate* const one = &baseline;
  evaluate_models(std::span(&one, 1), nullptr, inputs, work.part(1, ""));
}

}  // namespace thimble
