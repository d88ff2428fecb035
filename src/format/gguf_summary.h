// What a GGUF file amounts to: sizes by type, bits per weight, and whether stock llama.cpp (v0.5.0) can load it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "tensor/tensor_type.h"

namespace thimble {

/// Elements and bytes of tensor data; the body is everything but token_embd.weight and output.weight, whose share
/// dominates small models and says little about how well the layers are squeezed. The tensors of an outlier branch
/// (X.weight.outlier, X.weight.outlier_index) add bytes to their matrix, but no weights.
struct GgufTotals {
  uint64_t elements = 0;
  uint64_t bytes = 0;
  uint64_t body_elements = 0;
  uint64_t body_bytes = 0;

  void add(std::string_view name, uint64_t tensor_elements, uint64_t tensor_bytes) noexcept;
  /// 8 * bytes / elements; 0 for no elements.
  double bits_per_weight() const noexcept;
  double body_bits_per_weight() const noexcept;
};

/// Sums over all tensors of `file`.
GgufTotals tensor_totals(const GgufFile& file) noexcept;

/// Tensors of one type.
struct GgufTypeTotals {
  TensorType type;
  uint64_t n_tensors = 0;
  uint64_t elements = 0;
  uint64_t bytes = 0;
};

/// Outlier branches of a file, as far as the names of its tensors tell.
struct GgufOutliers {
  uint64_t n_matrices = 0;
  uint64_t n_channels = 0;  // of all of them
  uint64_t bytes = 0;
};

struct GgufSummary {
  GgufTotals totals;
  GgufOutliers outliers;
  std::vector<GgufTypeTotals> by_type;  // most bytes first
  std::vector<std::string>
      stock_obstacles;  // why stock llama.cpp refuses the file; empty when nothing is known against it
};

GgufSummary summarize(const GgufFile& file);

/// Reasons why stock llama.cpp cannot load `file` as a language model, as far as the file's keys, tensor names, types
/// and layout tell. Source: llama.cpp v0.5.0 ggml/src/gguf.cpp, src/llama-arch.cpp, src/llama-model-loader.cpp.
std::vector<std::string> stock_obstacles(const GgufFile& file);

}  // namespace thimble
