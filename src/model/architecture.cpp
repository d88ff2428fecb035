// Registry of architectures. A static-initialiser registry was rejected: the linker drops such files from static
// libraries without a word.
#include "model/architecture.h"

#include <string>

#include "base/error.h"

namespace thimble {

extern const Architecture kArchLlama;
extern const Architecture kArchQwen2;

std::span<const Architecture* const> architectures() noexcept {
  static constexpr const Architecture* kAll[] = {&kArchLlama, &kArchQwen2};
  return kAll;
}

const Architecture& find_architecture(std::string_view name, const std::string& source) {
  std::string known;
  for (const Architecture* architecture : architectures()) {
    if (architecture->name == name) return *architecture;
    if (!known.empty()) known += ", ";
    known += architecture->name;
  }
  fail(ErrorCode::unsupported, "{}: key general.architecture: found \"{}\", expected one of {}", source, name, known);
}

void bind_decoder_layer(TensorBinder& binder, const ModelConfig& config, int64_t index, LayerWeights& layer) {
  const auto name = [index](std::string_view suffix) { return fmt::format("blk.{}.{}", index, suffix); };
  layer.attn_norm = binder.vector(name("attn_norm.weight"), config.n_embd);
  layer.q = binder.matrix(name("attn_q.weight"), config.n_embd, config.n_embd_q());
  layer.k = binder.matrix(name("attn_k.weight"), config.n_embd, config.n_embd_kv());
  layer.v = binder.matrix(name("attn_v.weight"), config.n_embd, config.n_embd_kv());
  layer.o = binder.matrix(name("attn_output.weight"), config.n_embd_q(), config.n_embd);
  if (config.has_qkv_bias) {
    layer.q_bias = binder.vector(name("attn_q.bias"), config.n_embd_q());
    layer.k_bias = binder.vector(name("attn_k.bias"), config.n_embd_kv());
    layer.v_bias = binder.vector(name("attn_v.bias"), config.n_embd_kv());
  }
  layer.ffn_norm = binder.vector(name("ffn_norm.weight"), config.n_embd);
  layer.gate = binder.matrix(name("ffn_gate.weight"), config.n_embd, config.n_ff);
  layer.up = binder.matrix(name("ffn_up.weight"), config.n_embd, config.n_ff);
  layer.down = binder.matrix(name("ffn_down.weight"), config.n_ff, config.n_embd);
}

}  // namespace thimble
