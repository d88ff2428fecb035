// Memory plan, speed and power of a model on a device, from a stated model (docs/DEVICES.md checks it):
//   seconds per decoded token = max(bytes read / (bandwidth * efficiency), operations / (int8 throughput * efficiency))
//     bytes read = weights of every matrix, one row of the embedding, and the key/value cache up to the position
//     operations = 2 for every weight of a matrix
//   seconds per prefilled token = max(operations without the head / (int8 throughput * efficiency),
//                                     bytes of the weights / batch / (bandwidth * efficiency))
//     the head is multiplied for the last prompt token only; attention's own operations are left out (4 % of a 7B's at
//     2,048 tokens)
//   watts = idle + energy per byte * bytes/s + energy per operation * operations/s
//   memory = weights + key/value cache of the context + activations; the program, tokenizer and page tables come on top
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "device/profile.h"
#include "format/gguf.h"
#include "model/model_config.h"
#include "ops/ops.h"

namespace thimble {

/// What the plan needs to know of a model: from a file, or from a quantization that has not been written yet.
struct ModelFootprint {
  ModelConfig config;
  uint64_t weight_bytes = 0;          // resident: every tensor
  uint64_t bytes_read_per_token = 0;  // weights read for one decoded token (embedding: one row)
  uint64_t weights_multiplied = 0;    // parameters in matmuls per decoded token, head included
  uint64_t head_weights = 0;          // those of the output head
};

/// A tensor that need not exist yet.
struct SizedTensor {
  std::string_view name;
  std::array<int64_t, 4> ne;
  TensorType type;
};

/// Errors: as read_model_config.
ModelFootprint footprint(const GgufFile& gguf);
/// Errors: invalid_argument for a shape that does not fit its type.
ModelFootprint footprint(const ModelConfig& config, std::span<const SizedTensor> tensors);

struct DevicePlan {
  uint64_t weight_bytes = 0, kv_bytes = 0, activation_bytes = 0, total_bytes = 0;
  uint64_t available_bytes = 0;
  bool fits = false;
  int64_t context = 0;
  int64_t largest_context = 0;  // that fits, at most the trained one; 0: not even one token
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;        // with the context full: the slowest token
  double decode_tokens_per_s_empty = 0;  // at the first token: what benchmarks publish
  double prefill_watts = 0, decode_watts = 0;
  double joules_per_token = 0;  // decode
  bool too_slow = false;        // below the profile's floor
  bool too_hot = false;         // above the profile's limit in decode
};

/// Plan at `context` positions (0: the profile's, at most the trained context), prefilling `n_batch` tokens at a time.
/// Errors: invalid_argument (a context beyond the trained one, n_batch or n_threads below 1).
DevicePlan make_plan(const ModelFootprint& model, const DeviceProfile& device, int64_t context, ops::KvType kv,
                     int64_t n_batch, int n_threads);

}  // namespace thimble
