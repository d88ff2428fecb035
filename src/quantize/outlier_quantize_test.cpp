// Outlier branches from a recipe to a file and into a model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/float16.h"
#include "format/gguf_summary.h"
#include "model/model.h"
#include "model/synthetic_model.h"
#include "quantize/quantize.h"
#include "quantize/test_folder.h"

namespace thimble {
namespace {

ModelConfig config() {
  ModelConfig c;
  c.architecture = "llama";
  c.name = "tiny";
  c.n_layer = 1;
  c.n_embd = 128;
  c.n_head = 4;
  c.n_head_kv = 2;
  c.head_dim = 32;
  c.n_rot = 32;
  c.n_ff = 192;
  c.n_vocab = 64;
  c.n_ctx_train = 64;
  return c;
}

// A float model in which channel 77 of every matrix is 30 times as large.
SyntheticModel float_model(ThreadPool& pool) {
  SyntheticModel model = make_synthetic_model(config(), synthetic_tensors(config(), TensorType::f32, false), {}, pool);
  for (const GgufTensor& tensor : model.gguf.tensors()) {
    if (tensor.view.ne[1] == 1) continue;
    const auto n = static_cast<size_t>(tensor.view.ne[0]);
    std::byte* bytes = model.image.data() + (tensor.view.data.data() - model.image.data());
    for (size_t at = 77; at < tensor.view.data.size() / sizeof(float); at += n) {
      float value = 0.0f;
      std::memcpy(&value, bytes + at * sizeof(float), sizeof value);
      value *= 30.0f;
      std::memcpy(bytes + at * sizeof(float), &value, sizeof value);
    }
  }
  return model;
}

std::vector<float> decoded(const GgufFile& file, const std::string& name) {
  const TensorView& view = file.tensor(name).view;
  std::vector<float> out(static_cast<size_t>(view.n_elements()));
  traits(view.type).decode(view.data.data(), out.data(), view.n_elements());
  if (file.find_tensor(name + ".outlier") == nullptr) return out;
  const std::vector<float> values = decoded(file, name + ".outlier");
  const TensorView& index = file.tensor(name + ".outlier_index").view;
  for (size_t i = 0; i < values.size(); ++i) {
    int32_t channel = 0;
    std::memcpy(&channel, index.data.data() + i % static_cast<size_t>(index.ne[0]) * sizeof channel, sizeof channel);
    out[i / static_cast<size_t>(index.ne[0]) * static_cast<size_t>(view.ne[0]) + static_cast<size_t>(channel)] +=
        values[i];
  }
  return out;
}

double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return sum;
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(OutlierQuantize, ARecipeGivesMatricesBranchesThatLowerTheirError) {
  const Folder folder;
  ThreadPool pool(2);
  const SyntheticModel input = float_model(pool);
  const Recipe plain = parse_recipe("scheme = 'i4_g128'\n", "plain.toml");
  const Recipe recipe = parse_recipe(
      "scheme = 'i4_g128'\noutliers = 2\n"
      "[[rule]]\nmatch = '*.attn_k.weight'\ntype = 'q4_0'\noutlier_bits = 0.7\n"
      "[[rule]]\nmatch = '*.attn_v.weight'\ntype = 'q4_0'\noutliers = 0\n"
      "[[rule]]\nmatch = '*.attn_q.weight'\ntype = 'f16'\n",
      "branched.toml");
  const QuantizeResult planned = plan_quantize(input.gguf, recipe);
  const QuantizeResult done = quantize(input.gguf, folder / "branched.gguf", recipe, {}, pool);
  quantize(input.gguf, folder / "plain.gguf", plain, {}, pool);
  EXPECT_EQ(std::filesystem::file_size(folder / "branched.gguf"), planned.file_bytes);
  EXPECT_EQ(done.body_bits_per_weight, planned.body_bits_per_weight);
  const GgufFile branched = GgufFile::open(folder / "branched.gguf");
  const GgufFile unbranched = GgufFile::open(folder / "plain.gguf");
  EXPECT_DOUBLE_EQ(bits_per_weight(branched).body, planned.body_bits_per_weight);
  const auto channels = [&](const std::string& name) {
    const GgufTensor* index = branched.find_tensor(name + ".outlier_index");
    return index == nullptr ? 0 : index->view.ne[0];
  };
  EXPECT_EQ(channels("blk.0.ffn_up.weight"), 2);
  EXPECT_EQ(channels("blk.0.ffn_down.weight"), 2);  // i4_g64: 192 columns
  EXPECT_EQ(channels("blk.0.attn_k.weight"), 5);    // 0.7 bits of 128 columns and 64 rows: 716 bytes, 128 each
  EXPECT_EQ(channels("blk.0.attn_v.weight"), 0);
  EXPECT_EQ(channels("blk.0.attn_q.weight"), 0);  // not rounded in blocks
  EXPECT_EQ(channels("token_embd.weight"), 0);
  EXPECT_EQ(channels("output.weight"), 0);
  for (const std::string name : {"blk.0.ffn_up.weight", "blk.0.ffn_down.weight", "blk.0.attn_output.weight"}) {
    const std::vector<float> want = decoded(input.gguf, name);
    const double error = squared_error(decoded(branched, name), want);
    EXPECT_LT(error, 0.1 * squared_error(decoded(unbranched, name), want)) << name;
    EXPECT_TRUE(std::isfinite(error));
  }
  // It loads as a model, and says who cannot load it.
  const Model model(branched, kernels::Isa::scalar);
  EXPECT_EQ(model.config().n_layer, 1);
  EXPECT_EQ(summarize(branched).outliers.n_matrices, 5u);
  const std::vector<std::string> obstacles = stock_obstacles(branched);
  EXPECT_TRUE(std::any_of(obstacles.begin(), obstacles.end(),
                          [](const std::string& o) { return o.find("thimble.features") != std::string::npos; }));
}

TEST(OutlierQuantize, NoChannelsGiveTheFileWithoutTheKey) {
  const Folder folder;
  ThreadPool pool(1);
  const SyntheticModel input = float_model(pool);
  Recipe recipe = parse_recipe("name = 'r'\nscheme = 'q4_0'\noutliers = 0\n", "r.toml");
  quantize(input.gguf, folder / "zero.gguf", recipe, {}, pool);
  recipe = parse_recipe("name = 'r'\nscheme = 'q4_0'\n", "r.toml");
  quantize(input.gguf, folder / "none.gguf", recipe, {}, pool);
  recipe = parse_recipe("name = 'r'\nscheme = 'q4_0'\noutlier_bits = 0.001\n", "r.toml");  // not one channel
  quantize(input.gguf, folder / "few.gguf", recipe, {}, pool);
  EXPECT_EQ(bytes_of(folder / "zero.gguf"), bytes_of(folder / "none.gguf"));
  EXPECT_EQ(bytes_of(folder / "few.gguf"), bytes_of(folder / "none.gguf"));
  EXPECT_EQ(GgufFile::open(folder / "none.gguf").find("thimble.features"), nullptr);
}

TEST(OutlierQuantize, MoreChannelsThanColumnsAreAll) {
  const Folder folder;
  ThreadPool pool(1);
  const SyntheticModel input = float_model(pool);
  const Recipe recipe = parse_recipe("scheme = 'q4_0'\noutliers = 1000\n", "r.toml");
  quantize(input.gguf, folder / "all.gguf", recipe, {}, pool);
  const GgufFile file = GgufFile::open(folder / "all.gguf");
  EXPECT_EQ(file.tensor("blk.0.ffn_down.weight.outlier_index").view.ne[0], 192);
  const std::vector<float> want = decoded(input.gguf, "blk.0.ffn_down.weight");
  const std::vector<float> got = decoded(file, "blk.0.ffn_down.weight");
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], std::abs(want[i]) * 0x1p-10f + 1e-6f);
}

void expect_refused(const std::string& text, const std::string& part) {
  try {
    (void)parse_recipe("scheme = 'q4_0'\n" + text, "r.toml");
    FAIL() << "accepted: " << text;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::corrupt) << e.what();
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(OutlierQuantize, BadKeysAreErrors) {
  expect_refused("outliers = -1\n", "outliers");
  expect_refused("outliers = 70000\n", "outliers");
  expect_refused("outliers = 1.5\n", "outliers");
  expect_refused("outlier_bits = -0.1\n", "'outlier_bits': found -0.1");
  expect_refused("outlier_bits = 17\n", "expected 0 to 16 bits");
  expect_refused("outliers = 2\noutlier_bits = 0.1\n", "beside 'outliers'");
  expect_refused("[[rule]]\nmatch = '*'\ntype = 'q4_0'\noutlier_bits = 'x'\n", "outlier_bits");
}

}  // namespace
}  // namespace thimble
