// Shapes of well-known models by name, for plans and benchmarks without any file: their hyperparameters.
// synthetic_tensors() (model/synthetic_model.h) lists the tensors of such a model.
#pragma once

#include <span>
#include <string_view>

#include "model/model_config.h"

namespace thimble {

struct ModelShape {
  ModelConfig config;           // config.name is the shape's name
  bool tied_output = false;     // the token embedding is also the output head
  std::string_view checkpoint;  // Hugging Face repository whose config.json the numbers are from
};

/// All named shapes, smallest first.
std::span<const ModelShape> model_shapes();

/// Errors: invalid_argument listing the known names.
const ModelShape& find_model_shape(std::string_view name);

}  // namespace thimble
