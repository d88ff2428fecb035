// Every hyperparameter out of range, missing or of the wrong type, and every tensor of the wrong shape, is an error
// that names the file and the key or tensor.
#include "model/model_config.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <optional>

#include "base/cpu.h"
#include "base/error.h"
#include "model/model.h"
#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"

namespace thimble {
namespace {

// A GGUF image of the tiny model, with metadata and tensors as a test wants them. Tensor data is zeros.
struct TinyImage {
  GgufMetadata metadata = synthetic_metadata(tiny_config(), {});
  std::vector<GgufTensorPlan> tensors = synthetic_tensors(tiny_config(), TensorType::f32, false);

  GgufTensorPlan& tensor(std::string_view name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
  }
  GgufFile parse() {
    bytes = gguf_header(metadata, tensors);
    bytes.resize(gguf_file_bytes(metadata, tensors));
    return GgufFile::parse(bytes, "tiny.gguf");
  }
  std::vector<std::byte> bytes;
};

// The error of reading (and, when the configuration is fine, binding) the image.
std::optional<Error> error_of(TinyImage& image) {
  try {
    const GgufFile gguf = image.parse();
    const Model model(gguf, kernels::Isa::scalar);
    return std::nullopt;
  } catch (const Error& e) {
    return e;
  }
}

void expect_error(TinyImage& image, ErrorCode code, const std::string& name) {
  const std::optional<Error> error = error_of(image);
  ASSERT_TRUE(error) << name << ": no error";
  EXPECT_EQ(error->code(), code) << error->what();
  EXPECT_NE(std::string(error->what()).find("tiny.gguf"), std::string::npos) << error->what();
  EXPECT_NE(std::string(error->what()).find(name), std::string::npos) << error->what();
}

TEST(ModelConfig, ReadsWhatWasWritten) {
  ModelConfig written = tiny_config("qwen2");
  written.sliding_window = 7;
  written.rope_freq_scale = 0.5f;
  written.rope_freq_base = 500000.0f;
  TinyImage image;
  image.metadata = synthetic_metadata(written, {});
  image.tensors = synthetic_tensors(written, TensorType::f16, true);
  const GgufFile gguf = image.parse();
  const ModelConfig read = read_model_config(gguf);
  EXPECT_EQ(read.architecture, "qwen2");
  EXPECT_EQ(read.name, "tiny");
  EXPECT_EQ(read.n_layer, 2);
  EXPECT_EQ(read.n_embd, 64);
  EXPECT_EQ(read.n_head, 4);
  EXPECT_EQ(read.n_head_kv, 2);
  EXPECT_EQ(read.head_dim, 16);
  EXPECT_EQ(read.n_ff, 96);
  EXPECT_EQ(read.n_vocab, 264);
  EXPECT_EQ(read.n_ctx_train, 128);
  EXPECT_EQ(read.sliding_window, 7);
  EXPECT_EQ(read.rope_freq_scale, 0.5f);
  EXPECT_EQ(read.rope_freq_base, 500000.0f);
  EXPECT_EQ(read.rope_style, ops::RopeStyle::neox);
  EXPECT_TRUE(read.has_qkv_bias);
  const Model model(gguf, kernels::Isa::scalar);
  EXPECT_EQ(model.output().view.data.data(), model.token_embedding().data.data());  // tied
}

TEST(ModelConfig, DefaultsFollowFromOtherKeys) {
  TinyImage image;
  for (const char* key :
       {"attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base", "vocab_size"}) {
    image.metadata.remove(std::string("llama.") + key);
  }
  EXPECT_EQ(error_of(image), std::nullopt);
  const GgufFile gguf = image.parse();
  const ModelConfig config = read_model_config(gguf);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.n_rot, 16);
  EXPECT_EQ(config.rope_freq_base, 10000.0f);
  EXPECT_EQ(config.n_vocab, 264);
}

TEST(ModelConfig, MissingKeysAreNamed) {
  for (const char* suffix : {"block_count", "context_length", "embedding_length", "feed_forward_length",
                             "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
    const std::string key = std::string("llama.") + suffix;
    TinyImage image;
    image.metadata.remove(key);
    expect_error(image, ErrorCode::corrupt, key);
  }
  TinyImage image;
  image.metadata.remove("general.architecture");
  expect_error(image, ErrorCode::corrupt, "general.architecture");
}

TEST(ModelConfig, IntegersOutOfRangeAreNamed) {
  for (const char* suffix :
       {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "rope.dimension_count"}) {
    const std::string key = std::string("llama.") + suffix;
    for (const uint64_t value : {uint64_t{0}, uint64_t{1} << 40, UINT64_MAX}) {
      TinyImage image;
      image.metadata.set_uint64(key, value);
      expect_error(image, ErrorCode::corrupt, key);
    }
    TinyImage negative, text, number;
    negative.metadata.set_int32(key, -1);
    expect_error(negative, ErrorCode::corrupt, key);
    text.metadata.set_string(key, "4");
    expect_error(text, ErrorCode::corrupt, key);
    number.metadata.set_float32(key, 4.0f);
    expect_error(number, ErrorCode::corrupt, key);
  }
}

TEST(ModelConfig, FloatsOutOfRangeAreNamed) {
  for (const char* suffix : {"attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.scaling.factor"}) {
    const std::string key = std::string("llama.") + suffix;
    for (const float value :
         {-1.0f, 1e30f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      TinyImage image;
      image.metadata.set_float32(key, value);
      expect_error(image, ErrorCode::corrupt, key);
    }
  }
  TinyImage zero;
  zero.metadata.set_float32("llama.attention.layer_norm_rms_epsilon", 0.0f);
  expect_error(zero, ErrorCode::corrupt, "llama.attention.layer_norm_rms_epsilon");
}

TEST(ModelConfig, ContradictionsAreNamed) {
  TinyImage divisor, odd, vocabulary, tokens;
  divisor.metadata.set_uint32("llama.attention.head_count_kv", 3);
  expect_error(divisor, ErrorCode::corrupt, "llama.attention.head_count_kv");
  odd.metadata.set_uint32("llama.rope.dimension_count", 7);
  expect_error(odd, ErrorCode::corrupt, "llama.rope.dimension_count");
  vocabulary.metadata.set_uint32("llama.vocab_size", 265);
  expect_error(vocabulary, ErrorCode::corrupt, "llama.vocab_size");
  tokens.metadata.set_strings("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
  expect_error(tokens, ErrorCode::corrupt, "tokenizer.ggml.tokens");
  TinyImage heads;
  heads.metadata.remove("llama.attention.key_length");
  heads.metadata.remove("llama.attention.head_count_kv");
  heads.metadata.set_uint32("llama.attention.head_count", 5);
  expect_error(heads, ErrorCode::corrupt, "llama.attention.head_count");
}

TEST(ModelConfig, UnsupportedFeaturesAreNamed) {
  TinyImage architecture, experts, yarn, per_layer, value_length;
  architecture.metadata.set_string("general.architecture", "mamba");
  expect_error(architecture, ErrorCode::unsupported, "mamba");
  experts.metadata.set_uint32("llama.expert_count", 8);
  expect_error(experts, ErrorCode::unsupported, "llama.expert_count");
  yarn.metadata.set_string("llama.rope.scaling.type", "yarn");
  expect_error(yarn, ErrorCode::unsupported, "llama.rope.scaling.type");
  per_layer.metadata.set_int32s("llama.attention.head_count", std::vector<int32_t>{4, 4});
  expect_error(per_layer, ErrorCode::unsupported, "llama.attention.head_count");
  value_length.metadata.set_uint32("llama.attention.value_length", 8);
  expect_error(value_length, ErrorCode::unsupported, "llama.attention.value_length");
}

TEST(Model, MissingMisshapenAndUnknownTensorsAreNamed) {
  for (const GgufTensorPlan& plan : TinyImage().tensors) {
    if (plan.name == "output.weight") continue;  // its absence means a tied head
    TinyImage missing;
    std::erase_if(missing.tensors, [&](const auto& t) { return t.name == plan.name; });
    expect_error(missing, ErrorCode::corrupt, plan.name);
    TinyImage misshapen;
    misshapen.tensor(plan.name).ne[0] += 32;
    expect_error(misshapen, ErrorCode::corrupt, plan.name);
  }
  TinyImage unknown;
  unknown.tensors.push_back({"blk.0.attn_q_norm.weight", TensorType::f32, 1, {16, 1, 1, 1}});
  expect_error(unknown, ErrorCode::unsupported, "blk.0.attn_q_norm.weight");
  TinyImage integers;
  integers.tensor("blk.1.ffn_up.weight").type = TensorType::i32;
  expect_error(integers, ErrorCode::unsupported, "blk.1.ffn_up.weight");
  TinyImage layers;
  layers.metadata.set_uint32("llama.block_count", 1000);
  expect_error(layers, ErrorCode::corrupt, "blk.2.attn_norm.weight");
  TinyImage fewer;
  fewer.metadata.set_uint32("llama.block_count", 1);
  expect_error(fewer, ErrorCode::unsupported, "blk.1.");
}

TEST(Model, RopeFactorsMustBePositive) {
  TinyImage image;
  image.tensors.push_back({"rope_freqs.weight", TensorType::f32, 1, {8, 1, 1, 1}});  // data: zeros
  expect_error(image, ErrorCode::corrupt, "rope_freqs.weight");
}

TEST(Model, NormsStoredAsHalvesAreConverted) {
  TinyImage image;
  image.tensor("blk.0.attn_norm.weight").type = TensorType::f16;
  image.tensor("output_norm.weight").type = TensorType::bf16;
  EXPECT_EQ(error_of(image), std::nullopt);
}

}  // namespace
}  // namespace thimble
