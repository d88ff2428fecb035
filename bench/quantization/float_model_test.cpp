#include "quantization/float_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "model/reference_forward_test.h"
#include "model/synthetic_model.h"

namespace thimble::bench {
namespace {

ModelConfig tiny(const std::string& architecture) {
  ModelConfig c;
  c.architecture = architecture;
  c.n_layer = 2;
  c.n_embd = 128;
  c.n_head = 4;
  c.n_head_kv = 2;
  c.head_dim = 64;  // two blocks of Q4_1: a head has more than one scale to mix
  c.n_rot = 64;
  c.n_ff = 96;
  c.n_vocab = 300;
  c.n_ctx_train = 64;
  c.has_qkv_bias = architecture == "qwen2";
  return c;
}

class FloatModel : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / fmt::format("float_model_{}_{}", GetParam(), ::getpid());
    std::filesystem::create_directories(folder_);
    ThreadPool pool(1);
    SyntheticOptions options;
    if (GetParam() == "llama") options.rope_factors = std::vector<float>(32, 1.5f);
    const ModelConfig config = tiny(GetParam());
    const auto tensors = synthetic_tensors(config, TensorType::q4_1, GetParam() == "qwen2");
    original_ = make_synthetic_model(config, tensors, options, pool);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  GgufFile write(const ModelOrder& order, const std::string& name) const {
    const std::string path = (folder_ / name).string();
    write_float_model(original_.gguf, order, path);
    return GgufFile::open(path);
  }

  std::filesystem::path folder_;
  SyntheticModel original_;
};

TEST_P(FloatModel, IsTheSameFunction) {
  const GgufFile plain = write(identity_order(tiny(GetParam())), "plain.gguf");
  const GgufFile shuffled = write(draw_order(tiny(GetParam()), 1), "shuffled.gguf");
  const std::vector<int32_t> tokens = {1, 7, 290, 3, 44, 7};
  const auto expected = ReferenceForward(plain).run(tokens);
  const auto found = ReferenceForward(shuffled).run(tokens);
  double largest = 0, spread = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (size_t i = 0; i < expected[t].size(); ++i) {
      largest = std::max(largest, std::fabs(expected[t][i] - found[t][i]));
      spread = std::max(spread, std::fabs(expected[t][i]));
    }
  }
  EXPECT_GT(spread, 0.1);
  EXPECT_LT(largest, 1e-12 * spread);  // double precision: only the order of additions differs
}

TEST_P(FloatModel, ASwappedOrderIsNoticed) {
  const GgufFile plain = write(identity_order(tiny(GetParam())), "plain.gguf");
  ModelOrder order = draw_order(tiny(GetParam()), 1);
  std::swap(order.layers[1].o_input[0], order.layers[1].o_input[1]);
  const GgufFile wrong = write(order, "wrong.gguf");
  const std::vector<int32_t> tokens = {1, 7, 290};
  EXPECT_GT(std::fabs(ReferenceForward(plain).run(tokens)[2][0] - ReferenceForward(wrong).run(tokens)[2][0]), 1e-5);
}

TEST_P(FloatModel, BreaksTheGridOfEveryMatrix) {
  const RequantizedError in_order =
      requantized_error(write(identity_order(tiny(GetParam())), "plain.gguf"), original_.gguf, 1 << 20);
  const RequantizedError shuffled =
      requantized_error(write(draw_order(tiny(GetParam()), 1), "shuffled.gguf"), original_.gguf, 1 << 20);
  EXPECT_EQ(in_order.matrices, GetParam() == "qwen2" ? 15 : 16);
  EXPECT_LT(in_order.overall, 0.01);  // f16 in between
  EXPECT_LT(in_order.share_of_noise, 0.1);
  EXPECT_GT(shuffled.share_of_noise, 0.5) << shuffled.tensor;
}

TEST_P(FloatModel, KeepsMetadataAndVectorsAndSaysF16) {
  const GgufFile shuffled = write(draw_order(tiny(GetParam()), 1), "shuffled.gguf");
  EXPECT_EQ(shuffled.get_uint("general.file_type", 0, 100), 1u);
  EXPECT_EQ(shuffled.get_string("general.architecture"), GetParam());
  EXPECT_EQ(shuffled.tensor("blk.0.ffn_up.weight").view.type, TensorType::f16);
  EXPECT_EQ(shuffled.tensor("blk.0.ffn_norm.weight").view.type, TensorType::f32);
}

TEST_P(FloatModel, RefusesATensorOfNoKnownRole) {
  ThreadPool pool(1);
  auto tensors = synthetic_tensors(tiny(GetParam()), TensorType::q4_1, true);
  tensors.push_back({"blk.0.attn_sinks.weight", TensorType::f32, 1, {4, 1, 1, 1}});
  original_ = make_synthetic_model(tiny(GetParam()), tensors, {}, pool);
  EXPECT_THROW(write(draw_order(tiny(GetParam()), 1), "refused.gguf"), Error);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "refused.gguf"));
}

INSTANTIATE_TEST_SUITE_P(Architectures, FloatModel, testing::Values("llama", "qwen2"),
                         [](const auto& test) { return test.param; });

TEST(DrawOrder, IsAPermutationAndDependsOnTheSeedAlone) {
  const ModelConfig config = tiny("llama");
  const ModelOrder order = draw_order(config, 5);
  for (const Order* part : {&order.residual, &order.layers[0].ffn, &order.layers[0].q_rows, &order.layers[1].v_rows,
                            &order.layers[1].o_input}) {
    Order sorted = *part;
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = 0; i < sorted.size(); ++i) ASSERT_EQ(sorted[i], static_cast<int32_t>(i));
  }
  EXPECT_EQ(order.residual, draw_order(config, 5).residual);
  EXPECT_NE(order.residual, draw_order(config, 6).residual);
  EXPECT_NE(order.layers[0].ffn, order.layers[1].ffn);
}

}  // namespace
}  // namespace thimble::bench
