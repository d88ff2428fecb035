// The extension point for model families: an architecture is one file arch_NAME.cpp that defines one Architecture, and
// one row in the registry of architecture.cpp. All present ones are pre-norm decoders with rotary attention and SwiGLU.
#pragma once

#include <span>
#include <string_view>

#include "model/hyperparameters.h"
#include "model/model.h"
#include "model/model_config.h"
#include "model/tensor_binder.h"

namespace thimble {

struct Architecture {
  std::string_view name;  // general.architecture

  /// Fills what differs between architectures, after the common hyperparameters were read and checked.
  /// Errors: corrupt, unsupported.
  void (*configure)(const HyperparameterReader& reader, ModelConfig& config);

  /// Binds the tensors of layer `index`. Errors: corrupt, unsupported (each names the tensor).
  void (*bind_layer)(TensorBinder& binder, const ModelConfig& config, int64_t index, LayerWeights& layer);
};

/// All architectures.
std::span<const Architecture* const> architectures() noexcept;

/// Architecture of a general.architecture value. Errors: unsupported, naming `source` and the known ones.
const Architecture& find_architecture(std::string_view name, const std::string& source);

/// Norms, attention (with q, k, v biases where config.has_qkv_bias) and SwiGLU of a llama-like layer.
void bind_decoder_layer(TensorBinder& binder, const ModelConfig& config, int64_t index, LayerWeights& layer);

}  // namespace thimble
