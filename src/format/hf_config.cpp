#include "format/hf_config.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/json.h"

namespace thimble {

namespace {

constexpr std::array<std::string_view, 3> kArchitectures = {"LlamaForCausalLM", "MistralForCausalLM",
                                                            "Qwen2ForCausalLM"};

// Bounds far beyond any model of today that keep every later product inside 64 bits.
constexpr int64_t kMaxDim = 1 << 20;
constexpr int64_t kMaxVocab = 1 << 22;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxContext = INT32_MAX;
constexpr int64_t kMaxTokenId = INT32_MAX;

// An id; -1 and null mean "none" (older Llama configurations have pad_token_id -1).
std::optional<int64_t> optional_id(const JsonObject& root, std::string_view key) {
  if (!root.has(key)) return std::nullopt;
  const int64_t id = root.integer(key, -1, kMaxTokenId);
  return id < 0 ? std::nullopt : std::optional(id);
}

// One id, a list of ids, null or nothing at all.
std::vector<int64_t> id_list(const JsonObject& root, std::string_view key) {
  std::vector<int64_t> ids;
  if (!root.has(key)) return ids;
  const Json& value = root.at(key);
  if (!value.is_array()) {
    if (const auto id = optional_id(root, key)) ids.push_back(*id);
    return ids;
  }
  for (const Json& element : value) {
    const Json holder = {{"element", element}};
    ids.push_back(
        JsonObject(holder, fmt::format("{}: key '{}'", root.source(), key)).integer("element", 0, kMaxTokenId));
  }
  return ids;
}

// Checked before anything else: other architectures name their dimensions differently, and a missing hidden_size would
// be a misleading complaint.
std::string parse_architecture(const JsonObject& root) {
  const Json& list = root.at("architectures");
  if (!list.is_array() || list.size() != 1 || !list.front().is_string()) {
    fail(ErrorCode::corrupt, "{}: key 'architectures': found {}, expected an array of one name", root.source(),
         describe_json(list));
  }
  std::string name = list.front().get<std::string>();
  if (std::find(kArchitectures.begin(), kArchitectures.end(), name) == kArchitectures.end()) {
    fail(ErrorCode::unsupported, "{}: architecture '{}', expected {}", root.source(), name,
         fmt::join(kArchitectures, ", "));
  }
  return name;
}

double positive(const JsonObject& object, std::string_view key, double fallback) {
  const double value = object.number(key, fallback);
  if (!(value > 0.0)) {
    fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected a positive number", object.source(), key, value);
  }
  return value;
}

// `object` is rope_scaling (to 2025) or rope_parameters (from transformers 5, which also holds rope_theta).
HfRopeScaling parse_rope_scaling(const JsonObject& object) {
  HfRopeScaling scaling;
  const std::string type = object.has("rope_type") ? object.string("rope_type") : object.string("type", "default");
  if (type == "default") return scaling;
  if (type == "linear") {
    scaling.type = HfRopeType::linear;
    scaling.factor = object.number("factor");
  } else if (type == "llama3") {
    scaling.type = HfRopeType::llama3;
    scaling.factor = object.number("factor");
    scaling.low_freq_factor = positive(object, "low_freq_factor", 1.0);
    scaling.high_freq_factor = positive(object, "high_freq_factor", 4.0);
    scaling.original_context = object.integer("original_max_position_embeddings", 1, kMaxContext, 8192);
    if (scaling.high_freq_factor <= scaling.low_freq_factor) {
      fail(ErrorCode::corrupt, "{}: key 'high_freq_factor': found {}, expected more than low_freq_factor {}",
           object.source(), scaling.high_freq_factor, scaling.low_freq_factor);
    }
  } else {
    fail(ErrorCode::unsupported, "{}: rope scaling '{}', expected default, linear or llama3", object.source(), type);
  }
  if (!(scaling.factor >= 1.0)) {
    fail(ErrorCode::corrupt, "{}: key 'factor': found {}, expected at least 1", object.source(), scaling.factor);
  }
  return scaling;
}

void parse_rope(const JsonObject& root, HfConfig& config) {
  config.rope_theta = positive(root, "rope_theta", 10000.0);
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    if (!root.has(key)) continue;
    const JsonObject object(root.at(key), fmt::format("{}: key '{}'", root.source(), key));
    config.rope_scaling = parse_rope_scaling(object);
    if (object.has("rope_theta")) config.rope_theta = positive(object, "rope_theta", 10000.0);
  }
  const double rotated = root.number("partial_rotary_factor", 1.0);
  if (rotated != 1.0) {
    fail(ErrorCode::unsupported, "{}: key 'partial_rotary_factor': found {}, expected 1", root.source(), rotated);
  }
}

void parse_dimensions(const JsonObject& root, HfConfig& config) {
  config.n_vocab = root.integer("vocab_size", 1, kMaxVocab);
  config.n_embd = root.integer("hidden_size", 1, kMaxDim);
  config.n_ff = root.integer("intermediate_size", 1, kMaxDim);
  config.n_layer = root.integer("num_hidden_layers", 1, kMaxLayers);
  config.n_head = root.integer("num_attention_heads", 1, kMaxHeads);
  config.n_head_kv = root.integer("num_key_value_heads", 1, kMaxHeads, config.n_head);
  config.n_ctx = root.integer("max_position_embeddings", 1, kMaxContext);
  if (!root.has("head_dim") && config.n_embd % config.n_head != 0) {
    fail(ErrorCode::corrupt,
         "{}: key 'hidden_size': {} is not a multiple of num_attention_heads {}, and there is no head_dim",
         root.source(), config.n_embd, config.n_head);
  }
  config.head_dim = root.integer("head_dim", 1, kMaxDim, config.n_embd / config.n_head);
  if (config.head_dim == 0 || config.head_dim % 2 != 0) {
    fail(ErrorCode::corrupt, "{}: head dimension {}, expected an even number (rotary embedding turns pairs)",
         root.source(), config.head_dim);
  }
  if (config.n_head % config.n_head_kv != 0) {
    fail(ErrorCode::corrupt, "{}: key 'num_key_value_heads': found {}, expected a divisor of num_attention_heads {}",
         root.source(), config.n_head_kv, config.n_head);
  }
}

// Qwen2 has a sliding_window that only counts with use_sliding_window, and then only from layer max_window_layers on.
void parse_sliding_window(const JsonObject& root, HfConfig& config) {
  const int64_t window = root.integer("sliding_window", 0, kMaxContext, 0);
  if (config.architecture == "MistralForCausalLM") {
    config.sliding_window = window;
    return;
  }
  const bool windowed = root.boolean("use_sliding_window", false) && window > 0 && window < config.n_ctx &&
                        root.integer("max_window_layers", 0, INT32_MAX, 0) < config.n_layer;
  if (windowed) {
    fail(ErrorCode::unsupported, "{}: key 'use_sliding_window': {} with a sliding window of {} tokens, expected false",
         root.source(), config.architecture, window);
  }
}

}  // namespace

HfConfig HfConfig::parse(std::string_view text, const std::string& source) {
  const Json document = parse_json(text, source);
  const JsonObject root(document, source);
  HfConfig config;
  config.architecture = parse_architecture(root);
  if (root.has("quantization_config")) {
    config.quantization = HfQuantization::parse(root.at("quantization_config"), source + ": key 'quantization_config'");
  }
  if (const std::string act = root.string("hidden_act", "silu"); act != "silu") {
    fail(ErrorCode::unsupported, "{}: key 'hidden_act': found '{}', expected 'silu'", source, act);
  }
  parse_dimensions(root, config);
  parse_rope(root, config);
  parse_sliding_window(root, config);
  config.rms_eps = positive(root, "rms_norm_eps", 1e-6);
  config.tied_head = root.boolean("tie_word_embeddings", false);
  config.attention_bias = root.boolean("attention_bias", false);
  config.mlp_bias = root.boolean("mlp_bias", false);
  config.bos_id = optional_id(root, "bos_token_id");
  config.pad_id = optional_id(root, "pad_token_id");
  config.eos_ids = id_list(root, "eos_token_id");
  return config;
}

HfGenerationConfig HfGenerationConfig::parse(std::string_view text, const std::string& source) {
  const Json document = parse_json(text, source);
  HfGenerationConfig config;
  config.eos_ids = id_list(JsonObject(document, source), "eos_token_id");
  return config;
}

}  // namespace thimble
