// Fidelity of a model to text and to a reference model: perplexity, KL divergence, top-1 agreement, in llama.cpp's
// protocol (llama-perplexity): chunks of n_ctx tokens, BOS put in first place, only the second half of a chunk scored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "runtime/engine.h"

namespace thimble {

struct PerplexityResult {
  double perplexity = 0;
  double standard_error = 0;  // of the perplexity
  int64_t n_chunks = 0;
  int64_t n_scored = 0;  // tokens
};

struct DivergenceResult {
  double mean_kl = 0;  // nats per token, KL(reference || model)
  double median_kl = 0;
  double p99_kl = 0;
  double max_kl = 0;
  double top1_agreement = 0;  // share in 0..1
  double reference_perplexity = 0;
};

struct FidelityResult {
  PerplexityResult perplexity;
  std::optional<DivergenceResult> divergence;  // with a reference
};

/// Errors: invalid_argument when the text is shorter than one chunk or vocabularies differ; cancelled.
FidelityResult measure_fidelity(const std::shared_ptr<const Engine>& model,
                                const std::shared_ptr<const Engine>& reference, const std::string& text, int64_t n_ctx,
                                ops::KvType kv, const Task& task = {});

/// KL(p || q) in nats of two logit rows of equal length.
double kl_divergence(std::span<const float> reference_logits, std::span<const float> logits);

}  // namespace thimble
