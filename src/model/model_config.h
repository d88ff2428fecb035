// Hyperparameters of a model, read from GGUF metadata and checked against each other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/gguf.h"
#include "ops/ops.h"

namespace thimble {

struct ModelConfig {
  std::string architecture;  // "llama", "qwen2"
  std::string name;          // general.name, may be empty
  int64_t n_layer = 0;
  int64_t n_embd = 0;
  int64_t n_head = 0;
  int64_t n_head_kv = 0;
  int64_t head_dim = 0;
  int64_t n_ff = 0;
  int64_t n_vocab = 0;
  int64_t n_ctx_train = 0;
  int64_t sliding_window = 0;  // 0: full attention
  float rms_eps = 1e-5f;
  ops::RopeStyle rope_style = ops::RopeStyle::norm;
  int64_t n_rot = 0;
  float rope_freq_base = 10000.0f;
  float rope_freq_scale = 1.0f;
  bool has_qkv_bias = false;

  int64_t n_embd_q() const noexcept { return n_head * head_dim; }
  int64_t n_embd_kv() const noexcept { return n_head_kv * head_dim; }
};

/// Errors: unsupported (architecture), corrupt (missing, absurd or contradicting keys, each named).
ModelConfig read_model_config(const GgufFile& gguf);

/// Names of the architectures that can be read.
std::vector<std::string> supported_architectures();

/// Bytes of key/value cache for one position in all layers.
uint64_t kv_bytes_per_token(const ModelConfig& config, ops::KvType type) noexcept;

}  // namespace thimble
