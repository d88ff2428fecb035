// The small engine that tests of this room run sessions on.
#pragma once

#include <memory>

#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"
#include "runtime/engine.h"

namespace thimble {

/// An engine of tiny_config() with random weights of one type, in memory.
struct TinyEngine {
  explicit TinyEngine(TensorType type = TensorType::f32, int n_threads = 2) {
    ThreadPool pool(1);
    const ModelConfig config = tiny_config();
    SyntheticOptions options;
    options.vocabulary = true;
    model = make_synthetic_model(config, synthetic_tensors(config, type, false), options, pool);
    EngineOptions engine_options;
    engine_options.n_threads = n_threads;
    engine = Engine::from_gguf(GgufFile::parse({model.image.data(), model.image.size()}, "tiny"), engine_options);
  }
  SyntheticModel model;  // the engine reads its image
  std::shared_ptr<const Engine> engine;
};

}  // namespace thimble
