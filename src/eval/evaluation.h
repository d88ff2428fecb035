// One or more models over tasks and a text: answers, fidelity to a reference, perplexity. Everything a model has to be
// run for goes into a journal first; scores come from the journal alone, so that a killed run goes on, shards can be
// joined and an old run can be scored again without a model.
//
// A folder of an evaluation holds manifest.json, journal.jsonl, results.json and reference/; one that was divided holds
// shard-I-of-N/ folders of the same kind until they are merged.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/journal.h"
#include "base/progress.h"
#include "eval/evaluation_manifest.h"
#include "eval/fidelity.h"
#include "eval/task_fidelity.h"
#include "eval/task_run.h"

namespace thimble {

struct EvaluationOptions {
  std::vector<std::string> models;  // GGUF files
  std::string tasks;                // folder; empty: none
  std::string text;                 // file for perplexity; empty: none
  std::string against;              // reference GGUF; empty: none
  ops::KvType kv = ops::KvType::f16;
  int64_t n_ctx = 0;     // tokens of a text chunk (0: 512) and of a task's context (0: what its longest item needs)
  EngineOptions engine;  // packing.file and packing.folder count only for a single model
  std::string output;    // folder; empty: nothing is kept
  std::string reference_folder;  // of reference answers; empty: output/reference
  std::optional<Shard> shard;    // needs an output
  // true: what the reference answers is kept as its own answers as well, where its cache is the one asked for (f16)
  bool keep_reference_answers = false;
};

struct ModelEvaluation {
  EvaluatedModel model;
  std::optional<FidelityResult> text;
  std::vector<TaskResult> tasks;
  std::vector<TaskFidelity> fidelity;  // of each task, with a reference
};

struct Evaluation {
  EvaluationManifest manifest;
  std::vector<TaskSet> tasks;
  std::vector<ModelEvaluation> models;  // empty for a shard: its part means nothing alone
};

/// Runs or goes on. With an output folder, results.json is written at the end (not for a shard). Errors:
/// invalid_argument (no model, neither tasks nor text, models of one name, a shard beside shards of other inputs),
/// those of every step; cancelled keeps what is done.
Evaluation evaluate(const EvaluationOptions& options, const Task& progress = {});

/// What evaluate() does between manifest and scores: runs models, in options.models and in the order of the manifest,
/// for what `journal` lacks. Of `options` it looks at models, against, engine, reference_folder, output, shard and
/// keep_reference_answers; all else is in the manifest. Errors: those of every step.
void run_evaluation(const EvaluationOptions& options, const EvaluationManifest& manifest,
                    const std::vector<TaskSet>& tasks, const std::string& text, Journal& journal, const Task& progress);

/// Whether the journal has all that run_evaluation would run this model for.
bool is_evaluated(const EvaluationManifest& manifest, size_t model, const std::vector<TaskSet>& tasks,
                  const Journal& journal);

/// Scores the journal of a folder again, with the tasks in `tasks` (empty: where they were read), and writes
/// results.json. Errors: not_found (folder, tasks, or an answer, named), corrupt.
Evaluation rescore(const std::string& folder, const std::string& tasks = {});

/// Joins the shards in `folder` into an evaluation like an undivided one, and scores it. Shards stay where they are.
/// Errors: not_found (no shards; missing or unfinished ones, all named), invalid_argument (a shard twice, shards of
/// different inputs), corrupt, io (a shard that is still running).
Evaluation merge_shards(const std::string& folder, const std::string& tasks = {});

/// Scores from a journal alone. Errors: as rescore.
Evaluation score_evaluation(const EvaluationManifest& manifest, std::vector<TaskSet> tasks, const Journal& journal);

/// results.json (`thimble-eval-results/1`, docs/EVALUATION.md): the same bytes for the same answers.
std::string evaluation_json(const Evaluation& evaluation);

/// Items of task number `task` that belong to `shard`.
std::vector<size_t> shard_items(const std::vector<TaskSet>& tasks, size_t task, const Shard& shard);

}  // namespace thimble
