// config.json and generation_config.json of a Hugging Face folder: the fields that a llama-like decoder needs, checked
// one by one and against each other. What the fields mean: transformers' LlamaConfig, MistralConfig and Qwen2Config.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/hf_quantization.h"

namespace thimble {

/// Rotary position scaling. Linear divides positions by `factor`; llama3 changes each frequency (see HfRopeScaling).
enum class HfRopeType { none, linear, llama3 };

struct HfRopeScaling {
  HfRopeType type = HfRopeType::none;
  double factor = 1.0;
  double low_freq_factor = 1.0;     // llama3 only
  double high_freq_factor = 4.0;    // llama3 only
  int64_t original_context = 8192;  // llama3 only
};

struct HfConfig {
  std::string architecture;  // LlamaForCausalLM, MistralForCausalLM or Qwen2ForCausalLM
  int64_t n_vocab = 0;
  int64_t n_embd = 0;
  int64_t n_ff = 0;
  int64_t n_layer = 0;
  int64_t n_head = 0;
  int64_t n_head_kv = 0;
  int64_t head_dim = 0;
  int64_t n_ctx = 0;
  int64_t sliding_window = 0;  // 0: full attention
  double rms_eps = 1e-6;
  double rope_theta = 10000.0;
  HfRopeScaling rope_scaling;
  bool tied_head = false;
  bool attention_bias = false;  // Llama only: biases of q, k, v and o (Qwen2 always has those of q, k and v)
  bool mlp_bias = false;        // Llama only
  std::optional<int64_t> bos_id;
  std::optional<int64_t> pad_id;
  std::vector<int64_t> eos_ids;                // config.json has one id or a list
  std::optional<HfQuantization> quantization;  // nothing: float weights

  /// `source` names the document in errors. Errors: corrupt (missing, absurd or contradicting values), unsupported
  /// (architecture, activation, rope scaling or quantization that is not known; each named).
  static HfConfig parse(std::string_view text, const std::string& source);
};

struct HfGenerationConfig {
  std::vector<int64_t> eos_ids;  // every id that ends generation; one id or a list in the file

  /// Errors: corrupt.
  static HfGenerationConfig parse(std::string_view text, const std::string& source);
};

}  // namespace thimble
