// config.json and generation_config.json: what is read, and one exact error for each bad value.
#include "format/hf_config.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace thimble {
namespace {

Json tiny_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"vocab_size", 10},
          {"hidden_size", 8},
          {"intermediate_size", 16},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"max_position_embeddings", 64}};
}

Json with(const std::string& key, Json value) {
  Json config = tiny_config();
  config[key] = std::move(value);
  return config;
}

std::string config_error(const Json& config) {
  try {
    HfConfig::parse(config.dump(), "t");
  } catch (const Error& e) {
    return fmt::format("{}: {}", error_code_name(e.code()), e.what());
  }
  return "";
}

TEST(HfConfig, ReadsNano) {
  const std::string path = std::string(THIMBLE_SOURCE_DIR) + "/models/nano/hf/";
  const HfConfig config = HfConfig::parse(read_file(path + "config.json", 1 << 20), "nano");
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.n_vocab, 4096);
  EXPECT_EQ(config.n_embd, 256);
  EXPECT_EQ(config.n_ff, 768);
  EXPECT_EQ(config.n_layer, 6);
  EXPECT_EQ(config.n_head, 4);
  EXPECT_EQ(config.n_head_kv, 2);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.n_ctx, 512);
  EXPECT_EQ(config.rms_eps, 1e-5);
  EXPECT_EQ(config.rope_scaling.type, HfRopeType::none);
  EXPECT_EQ(config.eos_ids, std::vector<int64_t>{2});
  EXPECT_FALSE(config.pad_id.has_value());
  const HfGenerationConfig generation =
      HfGenerationConfig::parse(read_file(path + "generation_config.json", 1 << 20), "nano");
  EXPECT_EQ(generation.eos_ids, (std::vector<int64_t>{2, 4095}));
}

TEST(HfConfig, Defaults) {
  const HfConfig config = HfConfig::parse(tiny_config().dump(), "t");
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_EQ(config.rms_eps, 1e-6);
  EXPECT_FALSE(config.tied_head);
  EXPECT_TRUE(config.eos_ids.empty());
  Json no_kv = tiny_config();
  no_kv.erase("num_key_value_heads");
  EXPECT_EQ(HfConfig::parse(no_kv.dump(), "t").n_head_kv, 2);
  EXPECT_FALSE(HfConfig::parse(with("pad_token_id", -1).dump(), "t").pad_id.has_value());
}

TEST(HfConfig, RopeScaling) {
  const auto scaling = [](Json value) { return HfConfig::parse(with("rope_scaling", std::move(value)).dump(), "t"); };
  EXPECT_EQ(scaling(nullptr).rope_scaling.type, HfRopeType::none);
  EXPECT_EQ(scaling({{"type", "linear"}, {"factor", 2}}).rope_scaling.factor, 2.0);
  const HfRopeScaling llama3 = scaling({{"rope_type", "llama3"},
                                        {"factor", 32.0},
                                        {"low_freq_factor", 1.0},
                                        {"high_freq_factor", 4.0},
                                        {"original_max_position_embeddings", 8192}})
                                   .rope_scaling;
  EXPECT_EQ(llama3.type, HfRopeType::llama3);
  EXPECT_EQ(llama3.original_context, 8192);
  // transformers 5 keeps theta beside the scaling.
  const HfConfig five =
      HfConfig::parse(with("rope_parameters", {{"rope_type", "default"}, {"rope_theta", 500000.0}}).dump(), "t");
  EXPECT_EQ(five.rope_theta, 500000.0);
  for (const std::string type : {"yarn", "dynamic", "longrope"}) {
    EXPECT_EQ(config_error(with("rope_scaling", {{"rope_type", type}, {"factor", 4}})),
              "unsupported: t: key 'rope_scaling': rope scaling '" + type + "', expected default, linear or llama3");
  }
  EXPECT_EQ(config_error(with("rope_scaling", {{"type", "linear"}})),
            "corrupt: t: key 'rope_scaling': key 'factor' is missing");
  EXPECT_EQ(config_error(with("rope_scaling", {{"type", "linear"}, {"factor", 0.5}})),
            "corrupt: t: key 'rope_scaling': key 'factor': found 0.5, expected at least 1");
  EXPECT_EQ(config_error(with("rope_scaling", {{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4.0}})),
            "corrupt: t: key 'rope_scaling': key 'high_freq_factor': found 4, expected more than low_freq_factor 4");
}

TEST(HfConfig, SlidingWindow) {
  Json mistral = with("sliding_window", 32);
  mistral["architectures"] = {"MistralForCausalLM"};
  EXPECT_EQ(HfConfig::parse(mistral.dump(), "t").sliding_window, 32);
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(HfConfig::parse(mistral.dump(), "t").sliding_window, 0);
  Json qwen = with("sliding_window", 32);
  qwen["architectures"] = {"Qwen2ForCausalLM"};
  EXPECT_EQ(HfConfig::parse(qwen.dump(), "t").sliding_window, 0);
  qwen["use_sliding_window"] = true;
  EXPECT_EQ(config_error(qwen),
            "unsupported: t: key 'use_sliding_window': Qwen2ForCausalLM with a sliding window of 32 tokens, expected "
            "false");
  qwen["max_window_layers"] = 2;  // the window starts after the last layer
  EXPECT_EQ(config_error(qwen), "");
}

TEST(HfConfig, BadInput) {
  EXPECT_EQ(config_error(with("architectures", {"GPT2LMHeadModel"})),
            "unsupported: t: architecture 'GPT2LMHeadModel', expected LlamaForCausalLM, MistralForCausalLM, "
            "Qwen2ForCausalLM");
  EXPECT_EQ(config_error(with("architectures", Json::array())),
            "corrupt: t: key 'architectures': found array, expected an array of one name");
  EXPECT_EQ(config_error(with("quantization_config", {{"quant_method", "bitsandbytes"}})),
            "unsupported: t: key 'quantization_config': the weights are already quantized ('bitsandbytes'), expected "
            "float weights, gptq or awq");
  EXPECT_EQ(config_error(with("hidden_act", "gelu")),
            "unsupported: t: key 'hidden_act': found 'gelu', expected 'silu'");
  EXPECT_EQ(config_error(with("hidden_size", 7)),
            "corrupt: t: key 'hidden_size': 7 is not a multiple of num_attention_heads 2, and there is no head_dim");
  EXPECT_EQ(config_error(with("hidden_size", 1e30)),
            "corrupt: t: key 'hidden_size': found number 1e+30, expected an integer from 1 to 1048576");
  EXPECT_EQ(config_error(with("num_hidden_layers", 1000000000)),
            "corrupt: t: key 'num_hidden_layers': found number 1000000000, expected an integer from 1 to 4096");
  EXPECT_EQ(config_error(with("head_dim", 3)),
            "corrupt: t: head dimension 3, expected an even number (rotary embedding turns pairs)");
  EXPECT_EQ(config_error(with("num_key_value_heads", 3)),
            "corrupt: t: key 'num_key_value_heads': found 3, expected a divisor of num_attention_heads 2");
  EXPECT_EQ(config_error(with("rms_norm_eps", 0)),
            "corrupt: t: key 'rms_norm_eps': found 0, expected a positive number");
  EXPECT_EQ(config_error(with("rope_theta", "x")),
            "corrupt: t: key 'rope_theta': found string \"x\", expected a finite number");
  EXPECT_EQ(config_error(with("partial_rotary_factor", 0.5)),
            "unsupported: t: key 'partial_rotary_factor': found 0.5, expected 1");
  EXPECT_EQ(config_error(with("eos_token_id", {1, "x"})),
            "corrupt: t: key 'eos_token_id': key 'element': found string \"x\", expected an integer from 0 to "
            "2147483647");
  EXPECT_THROW(HfConfig::parse("", "t"), Error);
  EXPECT_THROW(HfConfig::parse("[]", "t"), Error);
  EXPECT_THROW(HfGenerationConfig::parse("3", "t"), Error);
}

}  // namespace
}  // namespace thimble
