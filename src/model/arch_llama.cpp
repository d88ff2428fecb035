// "llama": Llama 1 to 3, Mistral (sliding window), SmolLM2 and others that share the layout. q and k rows are stored
// permuted so that rope rotates neighbouring pairs.
#include "model/architecture.h"

namespace thimble {

namespace {

void configure_llama(const HyperparameterReader& reader, ModelConfig& config) {
  config.rope_style = ops::RopeStyle::norm;
  // attention_bias = true exists among llama checkpoints; the tensors say so, no key does.
  config.has_qkv_bias = reader.gguf().find_tensor("blk.0.attn_q.bias") != nullptr;
}

}  // namespace

extern const Architecture kArchLlama;
const Architecture kArchLlama = {"llama", configure_llama, bind_decoder_layer};

}  // namespace thimble
