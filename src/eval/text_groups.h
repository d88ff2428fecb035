// Many models on one text. Those that fit into memory together share one run of the reference: on a CPU the float model
// takes several times as long as any of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "eval/fidelity.h"

namespace thimble {

/// Work of one model on a text for progress bars, in units of one generated answer (eval/task_fidelity.h).
constexpr double kTextWork = 40;

/// llama-perplexity's default chunk, so that figures compare.
constexpr int64_t kTextChunk = 512;
/// Tokens of a chunk for a model that was trained with contexts of `n_ctx_train`.
constexpr int64_t text_context(int64_t n_ctx_train) noexcept {
  return n_ctx_train < kTextChunk ? n_ctx_train : kTextChunk;
}

/// A model that is opened when its turn has come.
struct TextModel {
  std::string path;
  std::string key;  // identifies model and settings in the journal
};

/// Bytes of model files that are held open together: a quarter of the machine, at least 1 GiB.
uint64_t text_group_bytes() noexcept;

/// measure_fidelity of every model, in groups whose files are of at most `group_bytes` (or one model). Without a
/// reference nothing is shared, and a group is one model. Errors: as measure_fidelity and Engine::open.
std::vector<FidelityResult> measure_in_groups(std::span<const TextModel> models, const EngineOptions& engine,
                                              const std::shared_ptr<const Engine>& reference, const std::string& text,
                                              const FidelitySettings& settings, const Task& progress = {},
                                              uint64_t group_bytes = text_group_bytes());

}  // namespace thimble
