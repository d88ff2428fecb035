// The step that runs models: answers of the float model and of every candidate to the tasks, fidelity on the float
// model's own answers, perplexity and divergence on the text. Everything goes through the journal.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/journal.h"
#include "format/gguf.h"
#include "squeeze/squeeze.h"

namespace thimble {

struct ScoringInputs {
  const SqueezeOptions& options;
  const std::vector<TaskSet>& tasks;
  const std::string& text;      // empty: none
  const GgufFile& float_model;  // whose file is baseline.path
  int64_t n_ctx_train = 0;      // of the model
  int n_threads = 1;
  std::string version;           // of Thimble: part of the keys
  std::string reference_folder;  // of the float model's answers
  Journal& journal;
};

/// Whether the journal has all that score_models() would measure of a candidate: then its file is not needed. Looks at
/// `candidate.hash`, which may be that of a file which is gone.
bool is_scored(const Candidate& baseline, const Candidate& candidate, const ScoringInputs& inputs);

/// Fills tasks, on_answers (not of the baseline) and fidelity (with a text) of the baseline and of `candidates`. Files
/// of candidates that are scored need not exist; models run only for what the journal lacks. Errors: those of run_task,
/// reference_answers, measure_task_fidelity and measure_fidelity.
void score_models(Candidate& baseline, std::span<Candidate* const> candidates, const ScoringInputs& inputs,
                  const Task& progress);

}  // namespace thimble
