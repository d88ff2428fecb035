// "qwen2": Qwen2 and Qwen2.5. Biases on q, k and v; rope rotates halves; small sizes share embedding and head.
#include "model/architecture.h"

namespace thimble {

namespace {

void configure_qwen2(const HyperparameterReader& reader, ModelConfig& config) {
  (void)reader;
  config.rope_style = ops::RopeStyle::neox;
  config.has_qkv_bias = true;
}

}  // namespace

extern const Architecture kArchQwen2;
const Architecture kArchQwen2 = {"qwen2", configure_qwen2, bind_decoder_layer};

}  // namespace thimble
