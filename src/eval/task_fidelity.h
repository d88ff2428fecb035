// How faithfully a model follows the float model on the product's own work: KL divergence, top-1 agreement and flips
// over the float model's greedy answers to the items of a task, chat template applied. The answers are forced: at each
// of their tokens the model predicts what comes next, and the predictions are compared.
//
// KL is a lower bound (eval/top_log_probs.h); `mean_tail` says how much mass the bound cannot see into. Up to an
// answer's first flip the model saw what it would have written itself, so an answer without flips is one that it would
// have given word for word, and `flipped_items` is the share of answers that quantization changes.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/journal.h"
#include "base/progress.h"
#include "eval/fidelity.h"
#include "eval/reference_answers.h"
#include "eval/task_run.h"

namespace thimble {

struct ItemFidelity {
  std::string id;
  std::string cluster;
  std::vector<float> kl;              // [n] nats at each token of the answer, lower bounds
  std::vector<int64_t> flips;         // tokens, counted from 0, where another one would have been chosen
  double nll = 0, reference_nll = 0;  // nats, over the answer
  double tail = 0;                    // reference mass outside of the tokens kept, summed over the answer
};

/// Means over a stretch of answers: damage that grows with the length shows here.
struct FidelityStretch {
  int64_t from = 0, to = 0;  // tokens of the answer, from 1, both included; to = 0: to the end
  int64_t n_tokens = 0;
  double mean_kl = 0;
  double top1_agreement = 0;
};

struct TaskFidelity {
  std::string task;
  int64_t n_tokens = 0;
  DivergenceResult divergence;  // over all tokens; KL as lower bounds, reference_perplexity of the answers
  double perplexity = 0;        // of the model on the reference's answers
  double mean_tail = 0;         // reference mass outside of the tokens kept, a token
  int64_t flipped_items = 0;    // answers with a flip
  std::vector<FidelityStretch> stretches;
  std::vector<ItemFidelity> items;
};

struct TaskFidelitySettings {
  ops::KvType kv = ops::KvType::f16;
  int64_t n_ctx = 0;                             // 0: what the longest item needs
  std::string model_key;                         // identifies the model in the journal
  std::string reference_key;                     // reference_key() of the answers
  Journal* journal = nullptr;                    // null: nothing is kept; otherwise one line an item
  std::optional<std::vector<size_t>> only = {};  // items, ascending; nothing: all
};

/// Measures one model, one worker per engine, all of the same model. Errors: as task_session_options; invalid_argument
/// when the model cuts a prompt into other tokens than the reference (another vocabulary or chat template); corrupt
/// (NaN); cancelled.
TaskFidelity measure_task_fidelity(std::span<const std::shared_ptr<const Engine>> engines, const TaskSet& task,
                                   const ReferenceAnswers& reference, const TaskFidelitySettings& settings,
                                   const Task& progress = {});

/// Work of measuring a model on one answer for progress bars, in units of one generated answer: a prefill of the
/// answer, whose prompt is there already.
constexpr double kFidelityWork = 0.1;

struct AnsweredAndMeasured {
  TaskResult answers;
  TaskFidelity fidelity;
};

/// run_task and measure_task_fidelity with the same results; each prompt that both need is computed once instead of
/// twice. Errors: those of both; invalid_argument when the settings differ in journal, cache or context, or there is no
/// journal.
AnsweredAndMeasured answer_and_measure(std::span<const std::shared_ptr<const Engine>> engines, const TaskSet& task,
                                       const ReferenceAnswers& reference, const TaskRunSettings& answers,
                                       const TaskFidelitySettings& fidelity, const Task& progress = {});

/// Items that `journal` has no measurement of. Looks at model_key, reference_key, kv and only.
std::vector<size_t> unmeasured(const TaskSet& task, const TaskFidelitySettings& settings, const Journal& journal);
/// The result from a journal, without a model. Errors: not_found, naming the first item that is missing; corrupt.
TaskFidelity fidelity_from_journal(const TaskSet& task, const TaskFidelitySettings& settings, const Journal& journal);

/// Sums over items.
TaskFidelity summarise(const std::string& task, std::vector<ItemFidelity> items);

/// Several tasks as one: means over all their tokens.
struct PooledFidelity {
  int64_t n_tokens = 0;
  double mean_kl = 0;         // nats a token, lower bound
  double top1_agreement = 0;  // share in 0..1
  int64_t n_items = 0;
  int64_t flipped_items = 0;
};
/// Nothing when there is no token.
std::optional<PooledFidelity> pool_fidelity(std::span<const TaskFidelity> tasks) noexcept;

}  // namespace thimble
