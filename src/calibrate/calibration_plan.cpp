#include "calibrate/calibration_plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"
#include "base/utf8.h"

namespace thimble {

namespace {

// Tokens of a batch: the inner dimension of Gram products, whose sums are read and written once per batch (20 bytes for
// 2 flops per token: at 1024 tokens an eighth of the time at 10 GB/s and 200 Gflop/s), and rows of activations in
// memory.
constexpr int64_t kBatchTokens = 1024;
constexpr int64_t kMaxTokens = int64_t{1} << 30;  // counts are written as i32

void check_sequences(const ModelConfig& config, std::span<const std::vector<int32_t>> sequences,
                     const CalibrationSettings& settings) {
  if (sequences.empty()) fail(ErrorCode::invalid_argument, "calibrate: found no sequences, expected at least one");
  if (settings.n_heldout_rows < 0 || settings.heldout_every < 2) {
    fail(ErrorCode::invalid_argument,
         "calibrate: found {} held-out rows from every {}th sequence, expected 0 or more and 2 or more",
         settings.n_heldout_rows, settings.heldout_every);
  }
  int64_t n_tokens = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto length = static_cast<int64_t>(sequences[i].size());
    if (length < 1 || length > config.n_ctx_train) {
      fail(ErrorCode::invalid_argument,
           "calibrate: sequence {}: found {} tokens, expected 1 to {}, the model's context", i, length,
           config.n_ctx_train);
    }
    for (const int32_t id : sequences[i]) {
      if (id >= 0 && id < config.n_vocab) continue;
      fail(ErrorCode::invalid_argument, "calibrate: sequence {}: found token {}, expected 0 to {}", i, id,
           config.n_vocab - 1);
    }
    n_tokens += length;
    if (n_tokens > kMaxTokens) {
      fail(ErrorCode::invalid_argument, "calibrate: found more than {} tokens, expected fewer", kMaxTokens);
    }
  }
}

// Indices of sequences that are held out. With fewer than heldout_every of them, the last one.
bool is_heldout(size_t index, size_t n, const CalibrationSettings& settings) {
  if (settings.n_heldout_rows == 0 || n < 2) return false;
  const auto every = static_cast<size_t>(settings.heldout_every);
  return n < every ? index + 1 == n : index % every == every - 1;
}

void add_sequences(CalibrationPlan* plan, std::span<const std::vector<int32_t>> sequences,
                   const CalibrationSettings& settings, bool heldout) {
  const size_t first_batch = plan->batches.size();
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (is_heldout(i, sequences.size(), settings) != heldout) continue;
    const auto length = static_cast<int64_t>(sequences[i].size());
    const bool fits = plan->batches.size() > first_batch && plan->batches.back().n_tokens + length <= kBatchTokens;
    if (!fits) plan->batches.push_back({{}, static_cast<int64_t>(plan->tokens.size()), 0, heldout});
    CalibrationBatch& batch = plan->batches.back();
    batch.lengths.push_back(length);
    batch.n_tokens += length;
    plan->max_batch = std::max(plan->max_batch, batch.n_tokens);
    plan->longest = std::max(plan->longest, length);
    plan->tokens.insert(plan->tokens.end(), sequences[i].begin(), sequences[i].end());
    (heldout ? plan->info.n_heldout_sequences : plan->info.n_sequences) += 1;
    (heldout ? plan->n_heldout_tokens : plan->info.n_tokens) += length;
  }
}

void plan_inputs(CalibrationPlan* plan, const GgufFile& gguf, const ModelConfig& config,
                 const CalibrationSettings& settings) {
  const auto input = [&](std::string name, std::vector<std::string> weights, int64_t n_in) {
    return CalibrationInputPlan{std::move(name),         std::move(weights),  n_in, 1, plan->info.n_tokens, true,
                                settings.second_moments, plan->n_heldout_rows};
  };
  for (int64_t i = 0; i < config.n_layer; ++i) {
    const auto name = [i](std::string_view suffix) { return fmt::format("blk.{}.{}", i, suffix); };
    plan->stages.push_back(
        {input(name("attn_qkv"), {name("attn_q.weight"), name("attn_k.weight"), name("attn_v.weight")}, config.n_embd),
         input(name("attn_output"), {name("attn_output.weight")}, config.n_embd_q()),
         input(name("ffn_gate_up"), {name("ffn_gate.weight"), name("ffn_up.weight")}, config.n_embd),
         input(name("ffn_down"), {name("ffn_down.weight")}, config.n_ff)});
  }
  const bool tied = gguf.find_tensor("output.weight") == nullptr;
  plan->stages.push_back({input("output", {tied ? "token_embd.weight" : "output.weight"}, config.n_embd)});
}

std::string make_run_key(const CalibrationPlan& plan, const CalibrationSettings& settings) {
  ContentHasher hasher;
  hasher.update(fmt::format("{}/{}/{}/{}/{}/{}/", kCalibrationVersion, kBatchTokens, plan.info.model_key,
                            settings.second_moments, plan.n_heldout_rows, plan.info.n_context));
  hasher.update(plan.info.data);
  for (const CalibrationBatch& batch : plan.batches) {
    hasher.update(fmt::format("/{}:{}", batch.heldout, fmt::join(batch.lengths, ",")));
  }
  hasher.update(std::as_bytes(std::span(plan.tokens)));
  return hasher.hash();
}

}  // namespace

int64_t CalibrationPlan::heldout_token(int64_t row) const noexcept {
  return info.n_tokens + row * n_heldout_tokens / n_heldout_rows;
}

CalibrationPlan plan_calibration_run(const GgufFile& gguf, const ModelConfig& config,
                                     std::span<const std::vector<int32_t>> sequences,
                                     const CalibrationSettings& settings) {
  check_sequences(config, sequences, settings);
  CalibrationPlan plan;
  plan.info.model_key = calibration_model_key(gguf);
  plan.info.model_name = config.name.empty() ? gguf.source() : config.name;
  plan.info.data = settings.data;
  add_sequences(&plan, sequences, settings, false);
  add_sequences(&plan, sequences, settings, true);
  plan.info.n_context = settings.n_context > 0 ? settings.n_context : plan.longest;
  plan.n_heldout_rows = std::min(settings.n_heldout_rows, plan.n_heldout_tokens);
  plan.token_counts.assign(static_cast<size_t>(config.n_vocab), 0.0f);
  for (int64_t t = 0; t < plan.info.n_tokens; ++t) {
    plan.token_counts[static_cast<size_t>(plan.tokens[static_cast<size_t>(t)])] += 1.0f;
  }
  plan_inputs(&plan, gguf, config, settings);
  plan.run_key = make_run_key(plan, settings);
  std::vector<CalibrationInputPlan> inputs;
  for (const auto& stage : plan.stages) inputs.insert(inputs.end(), stage.begin(), stage.end());
  plan.layout = plan_calibration(plan.info, plan.run_key, config.n_vocab, inputs);
  return plan;
}

}  // namespace thimble
