// Test helper: an engine of a small random model, in memory, with a byte vocabulary and the chatml template.
#pragma once

#include <functional>
#include <memory>

#include "model/synthetic_model.h"
#include "runtime/engine.h"

namespace thimble::testing_engine {

inline ModelConfig small_config() {
  ModelConfig c;
  c.architecture = "llama";
  c.n_layer = 2;
  c.n_embd = 64;
  c.n_head = 4;
  c.n_head_kv = 2;
  c.head_dim = 16;
  c.n_ff = 96;
  c.n_vocab = 300;
  c.n_ctx_train = 256;
  c.n_rot = 16;
  return c;
}

/// `seed` chooses the weights, `change` may spoil them. The engine runs on one thread.
inline std::shared_ptr<const Engine> make(uint64_t seed, const std::function<void(SyntheticModel&)>& change = {}) {
  ThreadPool pool(1);
  const ModelConfig config = small_config();
  SyntheticOptions synthetic;
  synthetic.seed = seed;
  synthetic.vocabulary = true;
  auto model = std::make_shared<SyntheticModel>(
      make_synthetic_model(config, synthetic_tensors(config, TensorType::f16, false), synthetic, pool));
  if (change) change(*model);
  EngineOptions options;
  options.n_threads = 1;
  options.chat_template = ChatTemplate::chatml;
  const std::shared_ptr<const Engine> engine = Engine::from_gguf(model->gguf, options);
  // The engine's views point into the image, which must live as long.
  return std::shared_ptr<const Engine>(engine.get(), [engine, model](const Engine*) {});
}

}  // namespace thimble::testing_engine
