// Shapes of well-known models by name, for plans and benchmarks without any file: hyperparameters and the tensors a
// GGUF of them holds (names, dimensions), in the order convert writes them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_config.h"

namespace thimble {

struct ModelShape {
  ModelConfig config;           // config.name is the shape's name
  bool tied_output = false;     // the token embedding is also the output head
  std::string_view checkpoint;  // Hugging Face repository whose config.json the numbers are from
};

/// A tensor a model of this shape has. ne in ggml's order (ne[0] contiguous), unused dimensions are 1.
struct ShapeTensor {
  std::string name;
  std::array<int64_t, 4> ne;
  uint32_t n_dims;
};

/// All named shapes, smallest first.
std::span<const ModelShape> model_shapes();

/// Errors: invalid_argument listing the known names.
const ModelShape& find_model_shape(std::string_view name);

/// Tensors of a model with this configuration; output.weight is left out when `tied_output`.
std::vector<ShapeTensor> model_tensors(const ModelConfig& config, bool tied_output);

}  // namespace thimble
