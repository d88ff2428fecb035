// Tiny configurations and tokens that model and runtime tests share.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model_config.h"

namespace thimble {

/// Two layers, grouped queries (4 heads on 2), 264 tokens; every width a multiple of 32 so that block types fit.
inline ModelConfig tiny_config(const char* architecture = "llama") {
  ModelConfig c;
  c.architecture = architecture;
  c.name = "tiny";
  c.n_layer = 2;
  c.n_embd = 64;
  c.n_head = 4;
  c.n_head_kv = 2;
  c.head_dim = 16;
  c.n_rot = 16;
  c.n_ff = 96;
  c.n_vocab = 264;
  c.n_ctx_train = 128;
  c.has_qkv_bias = c.architecture == "qwen2";
  c.rope_style = c.has_qkv_bias ? ops::RopeStyle::neox : ops::RopeStyle::norm;
  return c;
}

/// Of tiny_config's vocabulary.
inline const std::vector<int32_t> kTinyTokens = {1, 17, 200, 33, 33, 90, 5, 263, 0, 120, 64, 71};

}  // namespace thimble
