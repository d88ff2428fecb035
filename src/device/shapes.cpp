// The table of named shapes, from the config.json of each checkpoint.
#include "device/shapes.h"

#include <fmt/ranges.h>

#include "base/error.h"

namespace thimble {

namespace {

// The numbers of one row, in config.json's terms.
struct Row {
  std::string_view name;
  std::string_view architecture;
  int64_t n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx_train;
  float rope_theta;
  float rms_eps;
  bool tied;
  std::string_view checkpoint;
};

// Mistral is v0.2: v0.1 has a sliding window of 4096 tokens, which stock GGUF files of it do not carry.
constexpr Row kRows[] = {
    {"smollm2-135m", "llama", 576, 30, 9, 3, 64, 1536, 49152, 8192, 100000.0f, 1e-5f, true,
     "HuggingFaceTB/SmolLM2-135M-Instruct"},
    {"qwen2.5-0.5b", "qwen2", 896, 24, 14, 2, 64, 4864, 151936, 32768, 1000000.0f, 1e-6f, true,
     "Qwen/Qwen2.5-0.5B-Instruct"},
    {"tinyllama-1.1b", "llama", 2048, 22, 32, 4, 64, 5632, 32000, 2048, 10000.0f, 1e-5f, false,
     "TinyLlama/TinyLlama-1.1B-Chat-v1.0"},
    {"llama-3.2-1b", "llama", 2048, 16, 32, 8, 64, 8192, 128256, 131072, 500000.0f, 1e-5f, true,
     "meta-llama/Llama-3.2-1B-Instruct"},
    {"qwen2.5-1.5b", "qwen2", 1536, 28, 12, 2, 128, 8960, 151936, 32768, 1000000.0f, 1e-6f, true,
     "Qwen/Qwen2.5-1.5B-Instruct"},
    {"smollm2-1.7b", "llama", 2048, 24, 32, 32, 64, 8192, 49152, 8192, 130000.0f, 1e-5f, true,
     "HuggingFaceTB/SmolLM2-1.7B-Instruct"},
    {"llama-3.2-3b", "llama", 3072, 28, 24, 8, 128, 8192, 128256, 131072, 500000.0f, 1e-5f, true,
     "meta-llama/Llama-3.2-3B-Instruct"},
    {"llama-2-7b", "llama", 4096, 32, 32, 32, 128, 11008, 32000, 4096, 10000.0f, 1e-5f, false,
     "meta-llama/Llama-2-7b-chat-hf"},
    {"mistral-7b", "llama", 4096, 32, 32, 8, 128, 14336, 32000, 32768, 1000000.0f, 1e-5f, false,
     "mistralai/Mistral-7B-Instruct-v0.2"},
    {"qwen2.5-7b", "qwen2", 3584, 28, 28, 4, 128, 18944, 152064, 32768, 1000000.0f, 1e-6f, false,
     "Qwen/Qwen2.5-7B-Instruct"},
    {"llama-3-8b", "llama", 4096, 32, 32, 8, 128, 14336, 128256, 8192, 500000.0f, 1e-5f, false,
     "meta-llama/Meta-Llama-3-8B-Instruct"},
};

ModelShape make_shape(const Row& row) {
  ModelShape shape;
  ModelConfig& c = shape.config;
  c.architecture = row.architecture;
  c.name = row.name;
  c.n_layer = row.n_layer;
  c.n_embd = row.n_embd;
  c.n_head = row.n_head;
  c.n_head_kv = row.n_head_kv;
  c.head_dim = row.head_dim;
  c.n_ff = row.n_ff;
  c.n_vocab = row.n_vocab;
  c.n_ctx_train = row.n_ctx_train;
  c.rms_eps = row.rms_eps;
  c.n_rot = row.head_dim;
  c.rope_freq_base = row.rope_theta;
  c.has_qkv_bias = row.architecture == "qwen2";
  c.rope_style = row.architecture == "qwen2" ? ops::RopeStyle::neox : ops::RopeStyle::norm;
  shape.tied_output = row.tied;
  shape.checkpoint = row.checkpoint;
  return shape;
}

}  // namespace

std::span<const ModelShape> model_shapes() {
  static const std::vector<ModelShape> shapes = [] {
    std::vector<ModelShape> all;
    for (const Row& row : kRows) all.push_back(make_shape(row));
    return all;
  }();
  return shapes;
}

const ModelShape& find_model_shape(std::string_view name) {
  std::vector<std::string_view> known;
  for (const ModelShape& shape : model_shapes()) {
    if (shape.config.name == name) return shape;
    known.push_back(shape.config.name);
  }
  fail(ErrorCode::invalid_argument, "model shape '{}' is not known, expected one of: {}", name, fmt::join(known, ", "));
}

}  // namespace thimble
