// Conversion: the embedded model against the output of another writer, and small folders for everything it does not
// use.
#include "convert/convert.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "convert/hf_folder.h"
#include "convert/tensor_plan.h"
#include "convert/test_hf_folder.h"
#include "format/gguf.h"

namespace thimble {
namespace {

std::vector<float> values_of(const GgufFile& gguf, const std::string& name) {
  const TensorView& view = gguf.tensor(name).view;
  std::vector<float> values(static_cast<size_t>(view.n_elements()));
  traits(view.type).decode(view.data.data(), values.data(), view.n_elements());
  return values;
}

// Values of a test tensor as the folder has them.
std::vector<float> source_values(const TestFolder& folder, const std::string& name) {
  for (size_t i = 0; i < folder.tensors.size(); ++i) {
    if (folder.tensors[i].name != name) continue;
    size_t count = 1;
    for (const int64_t n : folder.tensors[i].shape) count *= static_cast<size_t>(n);
    return test_values(count, i);
  }
  ADD_FAILURE() << name;
  return {};
}

class NanoConversion : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    path_ =
        testing::TempDir() + "/convert_nano_" + std::to_string(::getpid()) + ".gguf";  // ctest runs several at a time
    convert_hf(std::string(THIMBLE_SOURCE_DIR) + "/models/nano/hf", path_, TensorType::f16);
  }
  static void TearDownTestSuite() { std::filesystem::remove(path_); }
  static std::string path_;
};
std::string NanoConversion::path_;

// The hashes are those of nano-f16.gguf, which was written from the same weights with gguf-py 0.19 and which stock
// llama.cpp runs with the figures in the model card.
TEST_F(NanoConversion, TensorsEqualGgufPys) {
  const GgufFile gguf = GgufFile::open(path_);
  ASSERT_EQ(gguf.tensors().size(), 57u);
  const std::map<std::string, std::string> golden = {{"token_embd.weight", "a11d88ec9467f4e6c8c4d83720302730"},
                                                     {"blk.0.attn_q.weight", "ac788dda782201acba90955b3b142779"},
                                                     {"blk.0.attn_k.weight", "a57073e8dc655d72c1299887d33bb1a4"},
                                                     {"blk.0.attn_v.weight", "29fea0a47b121c0db3f87d43a436c587"},
                                                     {"blk.0.attn_norm.weight", "757d47a4db07b4c65b96ae17c4e5d919"},
                                                     {"output.weight", "59e12c216d0b6d84f6a5f5f1d489e6fc"}};
  for (const auto& [name, hash] : golden) EXPECT_EQ(content_hash(gguf.tensor(name).view.data), hash) << name;
  std::string all;
  for (const GgufTensor& t : gguf.tensors()) all += fmt::format("{} {}\n", t.name, content_hash(t.view.data));
  EXPECT_EQ(content_hash(all), "71697fa90d12b6384eadd5dfc80bbe6b");
}

TEST_F(NanoConversion, MetadataEqualsGgufPys) {
  const GgufFile gguf = GgufFile::open(path_);
  EXPECT_EQ(gguf.get_string("general.architecture"), "llama");
  EXPECT_EQ(gguf.get_string("general.name"), "nano");
  EXPECT_EQ(gguf.get_uint("general.file_type", 0, 99), 1u);
  const std::map<std::string, uint64_t> numbers = {{"context_length", 512},      {"embedding_length", 256},
                                                   {"block_count", 6},           {"feed_forward_length", 768},
                                                   {"attention.head_count", 4},  {"attention.head_count_kv", 2},
                                                   {"rope.dimension_count", 64}, {"vocab_size", 4096}};
  for (const auto& [key, value] : numbers) EXPECT_EQ(gguf.get_uint("llama." + key, 0, UINT32_MAX), value) << key;
  EXPECT_EQ(gguf.get_float("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(gguf.get_float("llama.attention.layer_norm_rms_epsilon"), static_cast<double>(1e-5f));
  EXPECT_EQ(gguf.find("llama.attention.key_length"), nullptr);

  EXPECT_EQ(gguf.get_string("tokenizer.ggml.model"), "llama");
  EXPECT_EQ(gguf.get_string("tokenizer.ggml.pre"), "default");
  std::string tokens;
  for (const std::string_view token : *gguf.get_strings("tokenizer.ggml.tokens")) tokens += std::string(token) + "\n";
  EXPECT_EQ(content_hash(tokens), "ab0fce4350e5a5f3b6fb4ec64dc89714");
  const auto array_hash = [&](std::string_view key) {
    return content_hash(std::get<GgufArray>(gguf.find(key)->value).bytes);
  };
  EXPECT_EQ(array_hash("tokenizer.ggml.scores"), "67ec3bc82989242299c4f0d9ebe9c37c");
  EXPECT_EQ(array_hash("tokenizer.ggml.token_type"), "74f9d39a15fa5cadd7a91379d7a3d721");
  EXPECT_EQ(gguf.get_uint("tokenizer.ggml.bos_token_id", 0, 4095), 1u);
  EXPECT_EQ(gguf.get_uint("tokenizer.ggml.eos_token_id", 0, 4095), 2u);
  EXPECT_EQ(gguf.get_uint("tokenizer.ggml.unknown_token_id", 0, 4095), 0u);
  EXPECT_EQ(gguf.get_uint("tokenizer.ggml.eot_token_id", 0, 4095), 4095u);
  EXPECT_TRUE(gguf.get_bool("tokenizer.ggml.add_bos_token", false));
  EXPECT_FALSE(gguf.get_bool("tokenizer.ggml.add_eos_token", true));
  EXPECT_TRUE(gguf.get_bool("tokenizer.ggml.add_space_prefix", false));
  EXPECT_TRUE(gguf.get_string("tokenizer.chat_template").starts_with("{% for message in messages %}{{ '<|im_start|>'"));
}

TEST(Convert, QwenHasBiasesAndATiedHead) {
  TestFolder folder("Qwen2ForCausalLM", "BF16");
  folder.config["tie_word_embeddings"] = true;
  folder.save();
  EXPECT_EQ(folder.error(TensorType::f16), "");
  const GgufFile gguf = GgufFile::open(folder.output());
  EXPECT_EQ(gguf.get_string("general.architecture"), "qwen2");
  EXPECT_EQ(gguf.get_uint("qwen2.embedding_length", 0, 99), 16u);
  EXPECT_EQ(gguf.find_tensor("output.weight"), nullptr);
  EXPECT_EQ(gguf.tensors().size(), 2u + 2u * 12u);
  // Rows keep their order, biases and norms are f32.
  EXPECT_EQ(gguf.tensor("blk.1.attn_q.weight").view.type, TensorType::f16);
  EXPECT_EQ(values_of(gguf, "blk.1.attn_q.weight"), source_values(folder, "model.layers.1.self_attn.q_proj.weight"));
  EXPECT_EQ(gguf.tensor("blk.1.attn_k.bias").view.type, TensorType::f32);
  EXPECT_EQ(values_of(gguf, "blk.1.attn_k.bias"), source_values(folder, "model.layers.1.self_attn.k_proj.bias"));
  EXPECT_EQ(values_of(gguf, "output_norm.weight"), source_values(folder, "model.norm.weight"));
}

// ggml's order of a head with 4 rows: 0, 2, 1, 3 of Hugging Face's (each half's first row, then each half's second).
TEST(Convert, LlamaRowsArePermutedPerHead) {
  TestFolder folder;
  folder.save();
  EXPECT_EQ(folder.error(), "");
  const GgufFile gguf = GgufFile::open(folder.output());
  for (const auto& [from, to, rows] : std::vector<std::tuple<std::string, std::string, size_t>>{
           {"self_attn.q_proj.weight", "attn_q.weight", 16}, {"self_attn.k_proj.weight", "attn_k.weight", 8}}) {
    const std::vector<float> source = source_values(folder, "model.layers.0." + from);
    const std::vector<float> target = values_of(gguf, "blk.0." + to);
    const std::array<size_t, 4> order = {0, 2, 1, 3};
    for (size_t row = 0; row < rows; ++row) {
      const size_t expected = row / 4 * 4 + order[row % 4];
      for (size_t col = 0; col < 16; ++col) ASSERT_EQ(target[row * 16 + col], source[expected * 16 + col]) << row;
    }
  }
  EXPECT_EQ(values_of(gguf, "blk.0.attn_v.weight"), source_values(folder, "model.layers.0.self_attn.v_proj.weight"));
  EXPECT_EQ(values_of(gguf, "output.weight"), source_values(folder, "lm_head.weight"));
}

TEST(Convert, EveryPairOfTypes) {
  for (const std::string dtype : {"F16", "BF16", "F32", "F64"}) {
    for (const TensorType type : {TensorType::f16, TensorType::bf16, TensorType::f32}) {
      TestFolder folder("LlamaForCausalLM", dtype);
      folder.save();
      ASSERT_EQ(folder.error(type), "");
      const GgufFile gguf = GgufFile::open(folder.output());
      EXPECT_EQ(gguf.tensor("blk.1.ffn_down.weight").view.type, type);
      EXPECT_EQ(gguf.tensor("blk.1.ffn_norm.weight").view.type, TensorType::f32);
      EXPECT_EQ(values_of(gguf, "blk.1.ffn_down.weight"), source_values(folder, "model.layers.1.mlp.down_proj.weight"));
      EXPECT_EQ(values_of(gguf, "blk.1.ffn_norm.weight"),
                source_values(folder, "model.layers.1.post_attention_layernorm.weight"));
    }
  }
  TestFolder folder;
  folder.save();
  EXPECT_EQ(folder.error(TensorType::q4_0), "invalid argument: convert: output type q4_0, expected f16, bf16 or f32");
}

TEST(Convert, NumbersBeyondHalfPrecision) {
  TestFolder folder("LlamaForCausalLM", "BF16");
  TestTensor& tensor = folder.tensor("model.layers.1.mlp.up_proj.weight");
  std::vector<float> values = test_values(24 * 16, 0);
  values[100] = -65536.0f;
  tensor.bytes = encode_values(values, "BF16");
  folder.save();
  EXPECT_EQ(folder.error(),
            "unsupported: F/model.safetensors: tensor 'model.layers.1.mlp.up_proj.weight' has the value -65536, beyond "
            "f16's 65504; convert with --type bf16");
  EXPECT_EQ(folder.error(TensorType::bf16), "");
  EXPECT_EQ(values_of(GgufFile::open(folder.output()), "blk.1.ffn_up.weight")[100], -65536.0f);
}

TEST(Convert, MistralSlidingWindowAndHeadDim) {
  TestFolder folder("MistralForCausalLM");
  folder.config["sliding_window"] = 32;
  folder.config["rope_theta"] = 1e6;
  // Two heads of 4 in an embedding of 16, as in Mistral-Nemo where 32 heads of 128 meet 5,120.
  folder.config["head_dim"] = 4;
  folder.config["num_attention_heads"] = 2;
  folder.config["num_key_value_heads"] = 1;
  for (const std::string layer : {"model.layers.0.self_attn.", "model.layers.1.self_attn."}) {
    for (const auto& [name, shape] : std::map<std::string, std::vector<int64_t>>{
             {"q_proj", {8, 16}}, {"k_proj", {4, 16}}, {"v_proj", {4, 16}}, {"o_proj", {16, 8}}}) {
      TestTensor& t = folder.tensor(layer + name + ".weight");
      t.shape = shape;
      t.bytes = encode_values(test_values(static_cast<size_t>(shape[0] * shape[1]), 1), "F16");
    }
  }
  folder.save();
  EXPECT_EQ(folder.error(), "");
  const GgufFile gguf = GgufFile::open(folder.output());
  EXPECT_EQ(gguf.get_string("general.architecture"), "llama");
  EXPECT_EQ(gguf.get_uint("llama.attention.sliding_window", 0, 99), 32u);
  EXPECT_EQ(gguf.get_uint("llama.attention.key_length", 0, 99), 4u);
  EXPECT_EQ(gguf.get_uint("llama.attention.value_length", 0, 99), 4u);
  EXPECT_EQ(gguf.get_uint("llama.rope.dimension_count", 0, 99), 4u);
  EXPECT_EQ(gguf.get_float("llama.rope.freq_base"), 1e6);
  EXPECT_EQ(gguf.tensor("blk.0.attn_output.weight").view.ne, (std::array<int64_t, 4>{8, 16, 1, 1}));
}

TEST(Convert, LinearRopeScaling) {
  TestFolder folder;
  folder.config["rope_scaling"] = {{"type", "linear"}, {"factor", 2.5}};
  folder.save();
  EXPECT_EQ(folder.error(), "");
  const GgufFile gguf = GgufFile::open(folder.output());
  EXPECT_EQ(gguf.get_string("llama.rope.scaling.type"), "linear");
  EXPECT_EQ(gguf.get_float("llama.rope.scaling.factor"), 2.5);
  EXPECT_EQ(gguf.find_tensor("rope_freqs.weight"), nullptr);
}

// Expected: inv_freq / new_inv_freq of the formula in the Llama 3.1 model card's reference code, in Python doubles.
TEST(Convert, Llama3RopeFactors) {
  HfConfig config;
  config.head_dim = 64;
  config.rope_theta = 500000.0;
  config.rope_scaling = {HfRopeType::llama3, 32.0, 1.0, 4.0, 8192};  // Llama-3.2-1B
  const std::vector<float> factors = llama3_rope_factors(config);
  ASSERT_EQ(factors.size(), 32u);
  for (size_t i = 0; i < 15; ++i) EXPECT_EQ(factors[i], 1.0f) << i;
  EXPECT_FLOAT_EQ(factors[15], 1.6513292457638982f);
  EXPECT_FLOAT_EQ(factors[16], 3.2922621029408843f);
  EXPECT_FLOAT_EQ(factors[17], 9.66672897875329f);
  for (size_t i = 18; i < 32; ++i) EXPECT_EQ(factors[i], 32.0f) << i;
}

TEST(Convert, Llama3RopeScalingIsATensor) {
  TestFolder folder;
  folder.config["rope_scaling"] = {{"rope_type", "llama3"},
                                   {"factor", 8.0},
                                   {"low_freq_factor", 1.0},
                                   {"high_freq_factor", 4.0},
                                   {"original_max_position_embeddings", 64}};
  folder.save();
  EXPECT_EQ(folder.error(), "");
  const GgufFile gguf = GgufFile::open(folder.output());
  // Head dimension 4, theta 10000: wavelengths 6.28 (kept) and 628 (divided by 8).
  EXPECT_EQ(values_of(gguf, "rope_freqs.weight"), (std::vector<float>{1.0f, 8.0f}));
  EXPECT_EQ(gguf.find("llama.rope.scaling.type"), nullptr);
}

TEST(Convert, ShardsGiveTheSameFile) {
  TestFolder folder;
  folder.save();
  EXPECT_EQ(folder.error(), "");
  const std::string whole = read_file(folder.output(), 1 << 20);
  std::filesystem::remove(folder.path() + "/model.safetensors");
  Json map = Json::object();
  std::map<std::string, std::vector<TestTensor>> shards;
  for (size_t i = 0; i < folder.tensors.size(); ++i) {
    const std::string shard = fmt::format("model-{:05}-of-00003.safetensors", i % 3 + 1);
    shards[shard].push_back(folder.tensors[i]);
    map[folder.tensors[i].name] = shard;
  }
  for (const auto& [name, tensors] : shards) folder.write(name, safetensors_image(tensors));
  folder.write("model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  EXPECT_EQ(folder.error(), "");
  EXPECT_EQ(read_file(folder.output(), 1 << 20), whole);
}

TEST(Convert, ReportsProgressAndStopsOnRequest) {
  TestFolder folder;
  folder.save();
  CancelToken cancel;
  Task task;
  task.cancel = &cancel;
  uint64_t last = 0;
  task.progress = [&](uint64_t done, uint64_t total, std::string_view) {
    EXPECT_GT(done, last);
    EXPECT_LE(done, total);
    last = done;
    if (done > total / 2) cancel.cancel();
  };
  try {
    convert_hf(folder.path(), folder.output(), TensorType::f16, task);
    FAIL() << "not cancelled";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::cancelled);
  }
  EXPECT_GT(last, 0u);
  EXPECT_FALSE(std::filesystem::exists(folder.output()));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(std::filesystem::path(folder.output()).parent_path()),
                          std::filesystem::directory_iterator()),
            1);  // the folder only, no temporary
}

TEST(Convert, RecognisesFolders) {
  TestFolder folder;
  EXPECT_FALSE(is_hf_folder(folder.path()));
  folder.save();
  EXPECT_TRUE(is_hf_folder(folder.path()));
  EXPECT_FALSE(is_hf_folder(folder.path() + "/config.json"));
}

}  // namespace
}  // namespace thimble
