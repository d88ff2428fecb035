// Binds the weights of a GGUF to a Model.
#include "model/model.h"

#include <cmath>

#include "base/error.h"
#include "model/architecture.h"
#include "model/tensor_binder.h"

namespace thimble {

namespace {

// Divisors of the rope frequencies: llama3 scaling, computed by whoever wrote the file.
const float* bind_rope_factors(TensorBinder& binder, const GgufFile& gguf, const ModelConfig& config) {
  if (!binder.has("rope_freqs.weight")) return nullptr;
  const int64_t n = config.n_rot / 2;
  const float* factors = binder.vector("rope_freqs.weight", n);
  for (int64_t i = 0; i < n; ++i) {
    if (std::isfinite(factors[i]) && factors[i] > 0.0f) continue;
    fail(ErrorCode::corrupt, "{}: tensor rope_freqs.weight: found {} at {}, expected a positive number", gguf.source(),
         factors[i], i);
  }
  return factors;
}

}  // namespace

Model::Model(const GgufFile& gguf, kernels::Isa isa) : config_(read_model_config(gguf)), isa_(isa) {
  const Architecture& architecture = find_architecture(config_.architecture, gguf.source());
  TensorBinder binder(gguf, isa, owned_floats_);
  token_embedding_ = binder.table("token_embd.weight", config_.n_embd, config_.n_vocab);
  output_norm_ = binder.vector("output_norm.weight", config_.n_embd);
  // A file without a head uses the embedding as head (tied).
  const std::string_view head = binder.has("output.weight") ? "output.weight" : "token_embd.weight";
  output_ = binder.matrix(head, config_.n_embd, config_.n_vocab);
  rope_factors_ = bind_rope_factors(binder, gguf, config_);
  for (int64_t i = 0; i < config_.n_layer; ++i) {
    // Not resized up front: a file that promises a thousand layers and has none must not cost memory.
    architecture.bind_layer(binder, config_, i, layers_.emplace_back());
  }
  binder.refuse_unused();
  for (const GgufTensor& tensor : gguf.tensors()) weight_bytes_ += tensor.view.data.size();
}

}  // namespace thimble
