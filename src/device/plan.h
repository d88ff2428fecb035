// Memory plan, speed and power of a model on a device, from a stated model (docs/adr and docs/DEVICES.md):
//   decode tokens/s = bandwidth * efficiency / (weight bytes read per token + KV bytes read per token)
//   prefill tokens/s = int8 throughput * efficiency / (2 * weights multiplied per token)
//   watts = idle + energy per byte * bytes/s + energy per op * ops/s
#pragma once

#include <cstdint>
#include <string>

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
  uint64_t weights_multiplied = 0;    // parameters in matmuls per token
};
ModelFootprint footprint(const GgufFile& gguf);

struct DevicePlan {
  uint64_t weight_bytes = 0, kv_bytes = 0, activation_bytes = 0, total_bytes = 0;
  uint64_t available_bytes = 0;
  bool fits = false;
  int64_t context = 0;
  int64_t largest_context = 0;  // that fits, at most the trained one; 0: not even one token
  double prefill_tokens_per_s = 0, decode_tokens_per_s = 0;
  double prefill_watts = 0, decode_watts = 0;
  double joules_per_token = 0;  // decode
  bool too_slow = false;        // below the profile's floor
  bool too_hot = false;         // above the profile's limit in decode
};

/// Plan at `context` positions (0: the profile's). Errors: invalid_argument.
DevicePlan make_plan(const ModelFootprint& model, const DeviceProfile& device, int64_t context, ops::KvType kv,
                     int64_t n_batch, int n_threads);

}  // namespace thimble
