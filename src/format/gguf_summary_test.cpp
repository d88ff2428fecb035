// Sizes and the verdict about stock llama.cpp on files whose figures are known by hand.
#include "format/gguf_summary.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "format/gguf_test_image.h"
#include "format/gguf_writer.h"

namespace thimble {

namespace {

GgufMetadata llama_metadata() {
  GgufMetadata metadata;
  metadata.set_string("general.architecture", "llama");
  for (const char* key : {"llama.context_length", "llama.embedding_length", "llama.block_count"}) {
    metadata.set_uint32(key, 1);
  }
  metadata.set_string("tokenizer.ggml.model", "llama");
  metadata.set_string("thimble.scheme", "q8_0");
  metadata.set_uint32("thimble.version", 1);
  return metadata;
}

struct Model {
  std::vector<std::byte> image;
  GgufFile file;
};

Model model(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& plans) {
  Model m;
  m.image = gguf_header(metadata, plans);
  m.image.resize(gguf_file_bytes(metadata, plans));
  m.file = GgufFile::parse(m.image, "memory");
  return m;
}

const std::vector<GgufTensorPlan> kPlans = {{"token_embd.weight", TensorType::f16, 2, {32, 100, 1, 1}},
                                            {"blk.0.attn_norm.weight", TensorType::f32, 1, {32, 1, 1, 1}},
                                            {"blk.0.attn_q.weight", TensorType::q8_0, 2, {32, 32, 1, 1}},
                                            {"blk.0.ffn_up.weight", TensorType::q8_0, 2, {32, 64, 1, 1}},
                                            {"output_norm.weight", TensorType::f32, 1, {32, 1, 1, 1}},
                                            {"output.weight", TensorType::f16, 2, {32, 100, 1, 1}}};

TEST(GgufSummary, CountsBitsPerWeightWithAndWithoutEmbeddingAndHead) {
  const Model m = model(llama_metadata(), kPlans);
  const GgufSummary summary = summarize(m.file);
  // f16: 2 * 3200 weights of 2 bytes; f32: 2 * 32 of 4 bytes; q8_0: 96 rows of 34 bytes for 32 weights.
  EXPECT_EQ(summary.totals.elements, 6400u + 64 + 3072);
  EXPECT_EQ(summary.totals.bytes, 12800u + 256 + 3264);
  EXPECT_EQ(summary.totals.body_elements, 64u + 3072);
  EXPECT_EQ(summary.totals.body_bytes, 256u + 3264);
  EXPECT_DOUBLE_EQ(summary.totals.bits_per_weight(), 8.0 * 16320 / 9536);
  EXPECT_DOUBLE_EQ(summary.totals.body_bits_per_weight(), 8.0 * 3520 / 3136);
  ASSERT_EQ(summary.by_type.size(), 3u);
  EXPECT_EQ(summary.by_type[0].type, TensorType::f16);
  EXPECT_EQ(summary.by_type[0].n_tensors, 2u);
  EXPECT_EQ(summary.by_type[1].type, TensorType::q8_0);
  EXPECT_EQ(summary.by_type[1].bytes, 3264u);
  EXPECT_EQ(summary.by_type[2].elements, 64u);
  EXPECT_TRUE(summary.stock_obstacles.empty()) << summary.stock_obstacles.front();
}

TEST(GgufSummary, OutlierBranchesCostBytesOfTheirMatrixButAreNoWeights) {
  std::vector<GgufTensorPlan> plans = kPlans;
  plans.push_back({"blk.0.attn_q.weight.outlier_index", TensorType::i32, 1, {3, 1, 1, 1}});
  plans.push_back({"blk.0.attn_q.weight.outlier", TensorType::f16, 2, {3, 32, 1, 1}});
  plans.push_back({"output.weight.outlier_index", TensorType::i32, 1, {2, 1, 1, 1}});
  plans.push_back({"output.weight.outlier", TensorType::f16, 2, {2, 100, 1, 1}});
  const Model plain = model(llama_metadata(), kPlans);
  const Model m = model(llama_metadata(), plans);
  const GgufSummary before = summarize(plain.file);
  const GgufSummary summary = summarize(m.file);
  EXPECT_EQ(summary.totals.elements, before.totals.elements);
  EXPECT_EQ(summary.totals.body_elements, before.totals.body_elements);
  EXPECT_EQ(summary.totals.bytes, before.totals.bytes + 12 + 192 + 8 + 400);
  EXPECT_EQ(summary.totals.body_bytes, before.totals.body_bytes + 12 + 192);
  EXPECT_EQ(summary.outliers.n_matrices, 2u);
  EXPECT_EQ(summary.outliers.n_channels, 5u);
  EXPECT_EQ(summary.outliers.bytes, 12u + 192 + 8 + 400);
  EXPECT_EQ(before.outliers.n_matrices, 0u);
  EXPECT_EQ(summary.stock_obstacles.size(), 4u);
}

TEST(GgufSummary, AFileWithoutTensorsHasNoBits) {
  const Model m = model(llama_metadata(), {});
  EXPECT_EQ(tensor_totals(m.file).bits_per_weight(), 0.0);
  EXPECT_EQ(tensor_totals(m.file).body_bits_per_weight(), 0.0);
}

void expect_obstacle(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& plans, const std::string& part) {
  const Model m = model(metadata, plans);
  const std::vector<std::string> obstacles = stock_obstacles(m.file);
  ASSERT_EQ(obstacles.size(), 1u) << part;
  EXPECT_NE(obstacles[0].find(part), std::string::npos) << obstacles[0];
}

TEST(GgufSummary, SaysWhyStockLlamaCppRefusesAFile) {
  const auto with = [](const char* name) {
    std::vector<GgufTensorPlan> plans = kPlans;
    plans.push_back({name, TensorType::f32, 1, {1, 1, 1, 1}});
    return plans;
  };
  EXPECT_TRUE(stock_obstacles(model(llama_metadata(), with("rope_freqs.weight")).file).empty());
  EXPECT_TRUE(stock_obstacles(model(llama_metadata(), with("blk.12.attn_k.bias")).file).empty());
  for (const char* name : {"blk.0.attn_q.weight.outlier", "blk.0.attn_q.weight.outlier_index", "extra.weight",
                           "blk..attn_k.weight", "blk.0.attn.weight", "blk.0.attn_k", "attn_k.weight"}) {
    expect_obstacle(llama_metadata(), with(name), name);
  }
  for (const TensorType type : {TensorType::i4_g64, TensorType::i4_g128, TensorType::i5_g64, TensorType::i5_g128}) {
    std::vector<GgufTensorPlan> grouped = kPlans;
    grouped[2] = {"blk.0.attn_q.weight", type, 2, {128, 32, 1, 1}};
    expect_obstacle(llama_metadata(), grouped, std::string(traits(type).name));
  }
  GgufMetadata metadata = llama_metadata();
  metadata.set_bool("thimble.rotated", true);
  expect_obstacle(metadata, kPlans, "thimble.rotated");
  metadata = llama_metadata();
  metadata.remove("tokenizer.ggml.model");
  expect_obstacle(metadata, kPlans, "tokenizer.ggml.model");
  metadata = llama_metadata();
  metadata.remove("llama.block_count");
  expect_obstacle(metadata, kPlans, "llama.block_count");
  metadata = llama_metadata();
  metadata.set_string("general.architecture", "unheard-of");
  for (const char* suffix : {"context_length", "embedding_length", "block_count"}) {
    metadata.set_uint32(std::string("unheard-of.") + suffix, 1);
  }
  expect_obstacle(metadata, kPlans, "'unheard-of'");
  expect_obstacle(llama_metadata(), {}, "no tensors");
  std::vector<GgufTensorPlan> headless = kPlans;
  std::erase_if(headless, [](const GgufTensorPlan& p) { return p.name == "output_norm.weight"; });
  expect_obstacle(llama_metadata(), headless, "'output_norm.weight' is missing");
}

TEST(GgufSummary, SaysWhenTensorsDoNotFollowEachOther) {
  test::GgufImage image;
  image.header(2, 0).tensor("a", {4}, 0, 0).tensor("b", {4}, 0, 64).data(80);
  const test::ParsedImage file(image.bytes());
  const std::vector<std::string> obstacles = stock_obstacles(*file);
  const auto says = [](const std::string& o) { return o.find("'b' does not follow 'a'") != o.npos; };
  EXPECT_TRUE(std::any_of(obstacles.begin(), obstacles.end(), says));
}

}  // namespace

}  // namespace thimble
