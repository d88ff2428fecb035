// Models without a file: random finite weights in a GGUF image in memory, for tests and for benchmarks of a shape.
// The image goes through the ordinary parser and binder, so a synthetic model is a model like any other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "model/model_config.h"

namespace thimble {

struct SyntheticOptions {
  uint64_t seed = 1;
  // Adds a SentencePiece vocabulary of config.n_vocab tokens (at least 260: controls and bytes, then numbered words),
  // for whoever needs an Engine or writes the model to a file.
  bool vocabulary = false;
  // [n_rot / 2] of rope_freqs.weight; empty: none.
  std::vector<float> rope_factors;
};

/// Tensors of a decoder with this configuration, matrices as `type`, vectors as f32, in the order converters write.
/// Without output.weight when `tied_output`.
std::vector<GgufTensorPlan> synthetic_tensors(const ModelConfig& config, TensorType type, bool tied_output);

/// Metadata that read_model_config() turns into `config` again.
GgufMetadata synthetic_metadata(const ModelConfig& config, const SyntheticOptions& options);

/// An owned image with its parsed view. Movable: the image does not move.
struct SyntheticModel {
  AlignedBuffer<std::byte> image;
  GgufFile gguf;
};

/// Fills the tensors with values of a spread that keeps activations near 1 (1/sqrt(n_in); norms around 1). Large
/// matrices repeat a few dozen random rows: encoding gigabytes would take minutes and no kernel can tell.
/// Errors: resource_exhausted; as gguf_header and read_model_config.
SyntheticModel make_synthetic_model(const ModelConfig& config, std::vector<GgufTensorPlan> tensors,
                                    const SyntheticOptions& options, ThreadPool& pool);

}  // namespace thimble
