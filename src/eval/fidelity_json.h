// Measures of fidelity as results.json and report.json hold them (docs/EVALUATION.md).
#pragma once

#include "base/json.h"
#include "eval/task_fidelity.h"

namespace thimble {

/// `mean_kl`, `median_kl`, `p99_kl`, `max_kl`, `top1_agreement`, `reference_perplexity`.
Json divergence_json(const DivergenceResult& divergence);
/// Over all tokens of a task: `tokens`, `divergence`, `perplexity`, `mean_tail`, `flipped_items`, `stretches`.
Json task_fidelity_json(const TaskFidelity& fidelity);
/// Per item: `id`, `tokens`, `mean_kl`, `flips`, `first_flip` (null: none).
Json item_fidelity_json(const TaskFidelity& fidelity);

}  // namespace thimble
