// Common hyperparameters of all architectures, each range-checked, then checked against each other.
// Keys: llama.cpp's gguf-py constants (v0.5.0).
#include "model/model_config.h"

#include "base/error.h"
#include "model/architecture.h"
#include "model/hyperparameters.h"
#include "ops/kv_layout.h"

namespace thimble {

namespace {

// The largest published dense models have 126 layers, 16,384 channels, 128 heads and 262,144 tokens; head_dim is at
// most 256. These limits leave room and keep every product of two far below 2^63.
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 4096;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxContext = int64_t{1} << 31;

void read_heads(const HyperparameterReader& reader, ModelConfig& config) {
  const std::string& source = reader.gguf().source();
  config.n_head = reader.integer("attention.head_count", 1, kMaxHeads);
  config.n_head_kv = reader.integer("attention.head_count_kv", 1, kMaxHeads, config.n_head);
  if (config.n_head % config.n_head_kv != 0) {
    fail(ErrorCode::corrupt, "{}: key {}: found {}, expected a divisor of {} query heads", source,
         reader.key("attention.head_count_kv"), config.n_head_kv, config.n_head);
  }
  if (reader.has("attention.key_length")) {
    config.head_dim = reader.integer("attention.key_length", 2, kMaxHeadDim);
  } else if (config.n_embd % config.n_head == 0) {
    config.head_dim = config.n_embd / config.n_head;
  } else {
    fail(ErrorCode::corrupt, "{}: key {}: found {}, expected a divisor of {} channels", source,
         reader.key("attention.head_count"), config.n_head, config.n_embd);
  }
  if (config.head_dim < 2 || config.head_dim > kMaxHeadDim || config.head_dim % 2 != 0) {
    fail(ErrorCode::corrupt, "{}: head size: found {}, expected an even number from 2 to {}", source, config.head_dim,
         kMaxHeadDim);
  }
  const int64_t value_dim = reader.integer("attention.value_length", 1, kMaxHeadDim, config.head_dim);
  if (value_dim != config.head_dim) {
    fail(ErrorCode::unsupported, "{}: key {}: found {}, expected {} as in the keys", source,
         reader.key("attention.value_length"), value_dim, config.head_dim);
  }
  config.sliding_window = reader.integer("attention.sliding_window", 0, kMaxContext, 0);
  config.rms_eps = reader.number("attention.layer_norm_rms_epsilon", 1e-12, 1.0);
}

void read_rope(const HyperparameterReader& reader, ModelConfig& config) {
  const std::string& source = reader.gguf().source();
  config.n_rot = reader.integer("rope.dimension_count", 2, config.head_dim, config.head_dim);
  if (config.n_rot % 2 != 0) {
    fail(ErrorCode::corrupt, "{}: key {}: found {}, expected an even number", source,
         reader.key("rope.dimension_count"), config.n_rot);
  }
  config.rope_freq_base = reader.number("rope.freq_base", 1e-3, 1e15, 10000.0);
  const std::string_view type = reader.text("rope.scaling.type", "");
  // llama3 scaling comes as the tensor rope_freqs.weight and needs no type.
  if (type != "" && type != "none" && type != "linear") {
    fail(ErrorCode::unsupported, "{}: key {}: found \"{}\", expected none or linear", source,
         reader.key("rope.scaling.type"), type);
  }
  if (type == "none") return;
  // Older files carry the factor as rope.scale_linear. 0 means "no scaling" there.
  const std::string_view suffix = reader.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  const float factor = reader.number(suffix, 0.0, 1e6, 1.0);
  if (factor != 0.0f && factor < 1e-6f) {
    fail(ErrorCode::corrupt, "{}: key {}: found {}, expected 0 or at least 1e-6", source, reader.key(suffix), factor);
  }
  config.rope_freq_scale = factor == 0.0f ? 1.0f : 1.0f / factor;
}

void refuse_features(const HyperparameterReader& reader) {
  const int64_t n_expert = reader.integer("expert_count", 0, 1 << 20, 0);
  if (n_expert > 0) {
    fail(ErrorCode::unsupported, "{}: key {}: found {}, expected 0: mixtures of experts are not supported",
         reader.gguf().source(), reader.key("expert_count"), n_expert);
  }
  const float attn_factor = reader.number("rope.scaling.attn_factor", 0.0, 1e6, 1.0);
  if (attn_factor != 1.0f) {
    fail(ErrorCode::unsupported, "{}: key {}: found {}, expected 1", reader.gguf().source(),
         reader.key("rope.scaling.attn_factor"), attn_factor);
  }
}

// The embedding is the one thing that cannot lie about the vocabulary: the other two must agree with it.
void read_vocabulary(const HyperparameterReader& reader, ModelConfig& config) {
  const GgufFile& gguf = reader.gguf();
  config.n_vocab = gguf.tensor("token_embd.weight").view.ne[1];
  if (config.n_vocab < 1 || config.n_vocab > kMaxVocab) {
    fail(ErrorCode::corrupt, "{}: tensor token_embd.weight: found {} rows, expected 1 to {}", gguf.source(),
         config.n_vocab, kMaxVocab);
  }
  const int64_t stated = reader.integer("vocab_size", 1, kMaxVocab, config.n_vocab);
  if (stated != config.n_vocab) {
    fail(ErrorCode::corrupt, "{}: key {}: found {}, expected {}, the rows of token_embd.weight", gguf.source(),
         reader.key("vocab_size"), stated, config.n_vocab);
  }
  const std::vector<std::string_view>* tokens = gguf.get_strings("tokenizer.ggml.tokens");
  if (tokens != nullptr && static_cast<int64_t>(tokens->size()) != config.n_vocab) {
    fail(ErrorCode::corrupt,
         "{}: key tokenizer.ggml.tokens: found {} tokens, expected {}, the rows of token_embd.weight", gguf.source(),
         tokens->size(), config.n_vocab);
  }
}

}  // namespace

ModelConfig read_model_config(const GgufFile& gguf) {
  const Architecture& architecture = find_architecture(gguf.get_string("general.architecture"), gguf.source());
  const HyperparameterReader reader(gguf, architecture.name);
  ModelConfig config;
  config.architecture = architecture.name;
  config.name = gguf.get_string("general.name", "");
  config.n_layer = reader.integer("block_count", 1, kMaxLayers);
  config.n_embd = reader.integer("embedding_length", 1, kMaxWidth);
  config.n_ff = reader.integer("feed_forward_length", 1, kMaxWidth);
  config.n_ctx_train = reader.integer("context_length", 1, kMaxContext);
  read_heads(reader, config);
  read_rope(reader, config);
  refuse_features(reader);
  read_vocabulary(reader, config);
  architecture.configure(reader, config);
  return config;
}

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (const Architecture* architecture : architectures()) names.emplace_back(architecture->name);
  return names;
}

uint64_t kv_bytes_per_token(const ModelConfig& config, ops::KvType type) noexcept {
  const int64_t elements = config.n_head_kv * ops::kv_padded(config.head_dim);
  const int64_t row =
      type == ops::KvType::f16 ? elements * 2 : elements + config.n_head_kv * static_cast<int64_t>(sizeof(float));
  return static_cast<uint64_t>(2 * config.n_layer * row);
}

}  // namespace thimble
