// Folders that cannot be converted: one exact error each, and never a file left behind (TestFolder::error checks that).
#include <gtest/gtest.h>

#include "base/file.h"
#include "convert/test_hf_folder.h"

namespace thimble {
namespace {

TEST(ConvertErrors, MissingFiles) {
  TestFolder folder;
  EXPECT_EQ(folder.error(), "not found: F/config.json: cannot open: No such file or directory");
  folder.write("config.json", folder.config.dump());
  EXPECT_EQ(folder.error(), "not found: F: no tokenizer.model and no tokenizer.json in it");
  folder.write("tokenizer.json", folder.tokenizer.dump());
  EXPECT_EQ(folder.error(),
            "not found: F: no model.safetensors and no model.safetensors.index.json in it (pickled .bin weights are "
            "not read)");
  try {
    convert_hf(folder.path() + "/none", folder.output(), TensorType::f16);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.what(), folder.path() + "/none: not a folder, expected a Hugging Face model folder with config.json");
  }
}

TEST(ConvertErrors, EmptyFilesAndFolders) {
  for (const std::string name : {"config.json", "tokenizer.json", "generation_config.json", "tokenizer_config.json",
                                 "added_tokens.json", "tokenizer.model", "model.safetensors"}) {
    TestFolder folder;
    folder.save();
    folder.write(name, "");
    EXPECT_TRUE(folder.error().starts_with("corrupt: F/" + name + ": ")) << folder.error();
    std::filesystem::remove(folder.path() + "/" + name);
    std::filesystem::create_directory(folder.path() + "/" + name);
    EXPECT_EQ(folder.error(), "i/o error: F/" + name + ": found a folder, expected a regular file");
  }
}

TEST(ConvertErrors, TextThatIsNoJson) {
  TestFolder folder;
  folder.save();
  folder.write("config.json", "{\"architectures\": [\"\xff\"]}");
  EXPECT_TRUE(folder.error().starts_with("corrupt: F/config.json: not valid JSON: ")) << folder.error();
  folder.write("config.json", std::string(100000, '['));
  EXPECT_EQ(folder.error(), "corrupt: F/config.json: JSON nested 100000 deep, expected at most 64");
}

TEST(ConvertErrors, UnsupportedModels) {
  TestFolder folder("FalconForCausalLM");
  folder.save();
  EXPECT_EQ(folder.error(),
            "unsupported: F/config.json: architecture 'FalconForCausalLM', expected LlamaForCausalLM, "
            "MistralForCausalLM, Qwen2ForCausalLM");
  TestFolder biased;
  biased.config["attention_bias"] = true;
  biased.save();
  EXPECT_EQ(biased.error(),
            "unsupported: F/config.json: key 'attention_bias': LlamaForCausalLM with biases, expected without");
  TestFolder yarn;
  yarn.config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
  yarn.save();
  EXPECT_EQ(yarn.error(),
            "unsupported: F/config.json: key 'rope_scaling': rope scaling 'yarn', expected default, linear or llama3");
}

TEST(ConvertErrors, MissingExtraAndWrongTensors) {
  TestFolder missing;
  std::erase_if(missing.tensors, [](const TestTensor& t) { return t.name == "model.layers.1.mlp.up_proj.weight"; });
  missing.save();
  EXPECT_EQ(missing.error(),
            "corrupt: F/model.safetensors: tensor 'model.layers.1.mlp.up_proj.weight' is missing, expected it with "
            "shape [24, 16]");

  TestFolder extra;
  extra.tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {2}, std::string(8, '\0')});
  extra.save();
  EXPECT_EQ(extra.error(), "");
  extra.tensors.push_back({"model.layers.2.mlp.up_proj.weight", "F32", {1}, std::string(4, '\0')});
  extra.save();
  std::filesystem::remove(extra.output());
  EXPECT_EQ(extra.error(),
            "corrupt: F/model.safetensors: tensor 'model.layers.2.mlp.up_proj.weight' [1] is not part of a "
            "LlamaForCausalLM with 2 layers");

  TestFolder shape;
  shape.tensor("model.layers.0.self_attn.k_proj.weight").shape = {16, 8};
  shape.save();
  EXPECT_EQ(shape.error(),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.self_attn.k_proj.weight' has shape [16, 8], expected "
            "[8, 16] from config.json");

  TestFolder integers;
  TestTensor& tensor = integers.tensor("lm_head.weight");
  tensor.dtype = "I8";
  tensor.bytes.resize(8 * 16);
  integers.save();
  EXPECT_EQ(
      integers.error(),
      "unsupported: F/model.safetensors: tensor 'lm_head.weight' has elements of type I8, expected F16, BF16, F32 "
      "or F64");
}

// The parser's own test cuts at every byte; here the folder reader must pass each kind of cut on and write nothing.
TEST(ConvertErrors, TruncatedWeights) {
  TestFolder folder;
  folder.save();
  const std::string image = safetensors_image(folder.tensors);
  for (size_t length = 0; length < image.size(); length += length < 16 ? 1 : 211) {
    folder.write("model.safetensors", image.substr(0, length));
    const std::string error = folder.error();
    ASSERT_TRUE(error.starts_with("corrupt: F/model.safetensors: ")) << length << ": " << error;
  }
}

TEST(ConvertErrors, VocabularyAndEmbeddingDisagree) {
  TestFolder large;
  large.tokenizer["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"c", 2}, {"d", 3}, {"e", 4},
                                       {"f", 5}, {"g", 6}, {"h", 7}, {"i", 8}};
  large.tokenizer["added_tokens"] = Json::array();
  large.save();
  EXPECT_EQ(large.error(), "corrupt: F/tokenizer.json: 9 tokens, expected at most config.json's vocab_size 8");

  TestFolder hole;
  hole.tokenizer["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"c", 3}};
  hole.save();
  EXPECT_EQ(hole.error(), "corrupt: F/tokenizer.json: key 'vocab': id 2 is missing, expected all ids up to 3");

  TestFolder special;
  special.config["bos_token_id"] = 8;
  special.save();
  EXPECT_EQ(special.error(), "corrupt: F/config.json: key 'bos_token_id': found 8, expected less than vocab_size 8");
}

TEST(ConvertErrors, OutputThatCannotBeWritten) {
  TestFolder folder;
  folder.save();
  EXPECT_THROW(convert_hf(folder.path(), folder.path() + "/none/out.gguf", TensorType::f16), Error);
  EXPECT_THROW(convert_hf(folder.path(), folder.path(), TensorType::f16), Error);
  const std::string weights = folder.path() + "/model.safetensors";
  try {
    convert_hf(folder.path(), weights, TensorType::f16);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_EQ(e.what(), weights + ": is one of the files being converted, expected another output");
  }
  EXPECT_THROW(convert_hf(folder.path(), folder.path() + "/../tiny/config.json", TensorType::f16), Error);
  EXPECT_EQ(Json::parse(read_file(folder.path() + "/config.json", 1 << 20)), folder.config);
  EXPECT_EQ(read_file(weights, 1 << 20), safetensors_image(folder.tensors));
}

}  // namespace
}  // namespace thimble
