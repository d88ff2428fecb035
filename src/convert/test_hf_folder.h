// A small Hugging Face folder for tests: valid by default, every file can be replaced or spoilt.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/float16.h"
#include "base/json.h"
#include "convert/convert.h"
#include "format/test_safetensors.h"

namespace thimble {

/// Elements of the test tensors: exact in f16 and bf16, and different for different tensors and positions.
inline std::vector<float> test_values(size_t count, size_t seed) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = (static_cast<float>((i * 7 + seed * 31) % 251) - 125.0f) / 64.0f;
  return values;
}

inline std::string encode_values(const std::vector<float>& values, const std::string& dtype) {
  if (dtype == "F32") return raw_bytes<float>(values);
  if (dtype == "F64") {
    const std::vector<double> doubles(values.begin(), values.end());
    return raw_bytes<double>(doubles);
  }
  std::vector<uint16_t> halves;
  for (const float v : values) halves.push_back(dtype == "F16" ? f32_to_f16(v) : f32_to_bf16(v));
  return raw_bytes<uint16_t>(halves);
}

class TestFolder {
 public:
  explicit TestFolder(const std::string& architecture = "LlamaForCausalLM", const std::string& dtype = "F16") {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(testing::TempDir()) /
            fmt::format("convert_{}_{}_{}", info->name(), ::getpid(), ++count());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_ / "tiny");
    // 4 heads of 4, 2 of them for keys; a vocabulary of 6 with 2 rows of padding.
    config = {{"architectures", {architecture}},
              {"vocab_size", 8},
              {"hidden_size", 16},
              {"intermediate_size", 24},
              {"num_hidden_layers", 2},
              {"num_attention_heads", 4},
              {"num_key_value_heads", 2},
              {"max_position_embeddings", 64},
              {"rms_norm_eps", 1e-5},
              {"bos_token_id", 4},
              {"eos_token_id", 5}};
    tokenizer = {
        {"added_tokens",
         {{{"id", 4}, {"content", "<|a|>"}, {"special", true}},
          {{"id", 5}, {"content", "<|im_end|>"}, {"special", true}}}},
        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
        {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}, {"c", 3}}}, {"merges", {"a b"}}}}};
    add_tensors(architecture == "Qwen2ForCausalLM", dtype);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  Json config;
  Json tokenizer;
  std::vector<TestTensor> tensors;

  std::string path() const { return (path_ / "tiny").string(); }
  std::string output() const { return (path_ / "out.gguf").string(); }

  TestTensor& tensor(const std::string& name) {
    for (TestTensor& t : tensors) {
      if (t.name == name) return t;
    }
    ADD_FAILURE() << name;
    return tensors.front();
  }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / "tiny" / name, std::ios::binary) << content;
  }
  void save() const {
    write("config.json", config.dump());
    write("tokenizer.json", tokenizer.dump());
    write("model.safetensors", safetensors_image(tensors));
  }

  /// "CODE: message" with the folder shown as F; empty when it converts. Whatever happens, nothing half-written stays.
  std::string error(TensorType type = TensorType::f16) const {
    std::string text;
    try {
      convert_hf(path(), output(), type);
    } catch (const Error& e) {
      text = fmt::format("{}: {}", error_code_name(e.code()), hide_path(e.what(), path()));
    }
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      const bool expected = entry.path().filename() == "tiny" || (text.empty() && entry.path() == output());
      EXPECT_TRUE(expected) << entry.path() << " was left behind";
    }
    return text;
  }

 private:
  static int& count() {
    static int value = 0;
    return value;
  }

  void add(const std::string& name, std::vector<int64_t> shape, const std::string& dtype) {
    size_t elements = 1;
    for (const int64_t n : shape) elements *= static_cast<size_t>(n);
    tensors.push_back({name, dtype, std::move(shape), encode_values(test_values(elements, tensors.size()), dtype)});
  }

  void add_tensors(bool biases, const std::string& dtype) {
    add("model.embed_tokens.weight", {8, 16}, dtype);
    for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
      add(layer + "self_attn.q_proj.weight", {16, 16}, dtype);
      add(layer + "self_attn.k_proj.weight", {8, 16}, dtype);
      add(layer + "self_attn.v_proj.weight", {8, 16}, dtype);
      if (biases) {
        add(layer + "self_attn.q_proj.bias", {16}, dtype);
        add(layer + "self_attn.k_proj.bias", {8}, dtype);
        add(layer + "self_attn.v_proj.bias", {8}, dtype);
      }
      add(layer + "self_attn.o_proj.weight", {16, 16}, dtype);
      add(layer + "mlp.gate_proj.weight", {24, 16}, dtype);
      add(layer + "mlp.up_proj.weight", {24, 16}, dtype);
      add(layer + "mlp.down_proj.weight", {16, 24}, dtype);
      add(layer + "input_layernorm.weight", {16}, dtype);
      add(layer + "post_attention_layernorm.weight", {16}, dtype);
    }
    add("model.norm.weight", {16}, dtype);
    add("lm_head.weight", {8, 16}, dtype);
  }

  std::filesystem::path path_;
};

}  // namespace thimble
