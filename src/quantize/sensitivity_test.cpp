// Measured sensitivities against whole models run from token one, and the cache that makes them resumable.
#include "quantize/sensitivity.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "model/logit_divergence.h"
#include "model/synthetic_model.h"
#include "quantize/sensitivity_test_model.h"

namespace thimble {
namespace {

class SensitivityTest : public testing::Test {
 protected:
  SensitivityTest() {
    settings_.sequences = {{1, 17, 200, 33, 33, 90, 5, 263, 0, 120, 64, 71}, {1, 5, 9, 13, 17, 21, 25}};
    settings_.model_key = "model";
    settings_.rounding_key = "plain";
  }
  ~SensitivityTest() override { std::filesystem::remove_all(folder_); }

  RoundFn round() {
    return [this](const GgufTensor& tensor, TensorType type) {
      ++n_rounded_;
      return encode_rows(tensor, type);
    };
  }
  std::unique_ptr<SensitivityMeter> meter(Journal* cache = nullptr) {
    SensitivitySettings settings = settings_;
    settings.cache = cache;
    return std::make_unique<SensitivityMeter>(synthetic_.gguf, isa_, settings, round(), pool_);
  }

  // Divergence of the model with one tensor rounded, by running both models from the first token.
  double by_hand(std::string_view tensor, TensorType type) {
    const Model reference(synthetic_.gguf, isa_);
    Model changed(synthetic_.gguf, isa_);
    const GgufTensor& source = synthetic_.gguf.tensor(tensor);
    const CandidateWeights rounded = encode_rows(source, type);
    changed.replace_matrix(tensor, {type, source.view.ne, {rounded.data.data(), rounded.data.size()}});
    double sum = 0;
    int n = 0;
    for (const std::vector<int32_t>& tokens : settings_.sequences) {
      const auto p = logits(reference, tokens);
      const auto q = logits(changed, tokens);
      for (size_t position = tokens.size() / 2; position < tokens.size(); ++position, ++n) {
        const auto row = [&](const std::vector<float>& all) { return std::span(all).subspan(position * 264, 264); };
        sum += kl_divergence(row(p), row(q));
      }
    }
    return sum / n;
  }
  std::vector<float> logits(const Model& model, const std::vector<int32_t>& tokens) {
    KvCache cache(model.config(), ops::KvType::f16, 32);
    ForwardPass forward(model, pool_, 32, 32);
    const auto out = forward.run(tokens, 0, cache, LogitsFor::all);
    return {out.begin(), out.end()};
  }

  ThreadPool pool_{2};
  SyntheticModel synthetic_ = sensitivity_model(pool_);
  kernels::Isa isa_ = kernels::best_isa(host_cpu());
  SensitivitySettings settings_;
  int n_rounded_ = 0;
  std::string folder_ = [] {
    std::string path = (std::filesystem::temp_directory_path() / fmt::format("thimble_sens_{}", ::getpid())).string();
    std::filesystem::create_directories(path);
    return path;
  }();
  std::string cache_path_ = folder_ + "/cache.jsonl";
};

TEST_F(SensitivityTest, EqualsTheDivergenceOfWholeModels) {
  const auto m = meter();
  EXPECT_EQ(m->n_scored(), 6 + 4);
  for (const std::string_view tensor : {"token_embd.weight", "blk.0.attn_k.weight", "blk.1.ffn_down.weight",
                                        "blk.0.attn_output.weight", "blk.1.attn_q.weight", "output.weight"}) {
    for (const TensorType type : {TensorType::q4_0, TensorType::q8_0}) {
      const double expected = by_hand(tensor, type);
      EXPECT_GT(expected, 0.0) << tensor;
      EXPECT_NEAR(m->measure(tensor, type), expected, 1e-9 + 1e-6 * expected) << tensor;
    }
  }
}

TEST_F(SensitivityTest, OfTheOriginalIsZeroAndOfHalvesNearly) {
  const auto m = meter();
  EXPECT_EQ(m->measure("blk.0.ffn_up.weight", TensorType::f32), m->measure("blk.1.ffn_up.weight", TensorType::f32));
  EXPECT_NEAR(m->measure("blk.0.ffn_up.weight", TensorType::f32), 0.0, 1e-7);
  // Halves have a relative error of 2^-12 on average; divergence goes with its square.
  EXPECT_LT(m->measure("blk.0.ffn_up.weight", TensorType::f16), 1e-6);
  EXPECT_LT(m->measure("output.weight", TensorType::f16), 1e-6);
}

TEST_F(SensitivityTest, MeasurementsDoNotDependOnEachOther) {
  const auto a = meter();
  const double before = a->measure("blk.0.ffn_up.weight", TensorType::q4_0);
  a->measure("token_embd.weight", TensorType::q4_0);
  a->measure("output.weight", TensorType::q4_0);
  const std::pair<std::string, TensorType> both[] = {{"blk.1.ffn_up.weight", TensorType::q4_0},
                                                     {"blk.0.ffn_up.weight", TensorType::q4_0}};
  EXPECT_GT(a->measure_together(both), before);
  EXPECT_EQ(a->measure("blk.0.ffn_up.weight", TensorType::q4_0), before);
  EXPECT_EQ(a->measure_together(std::span(both).subspan(1)), before);
}

TEST_F(SensitivityTest, ARoundingThatFailsLeavesTheModelAsItWas) {
  bool broken = false;
  SensitivityMeter m(
      synthetic_.gguf, isa_, settings_,
      [&](const GgufTensor& tensor, TensorType type) {
        if (broken) fail(ErrorCode::corrupt, "no");
        return encode_rows(tensor, type);
      },
      pool_);
  const double before = m.measure("blk.0.ffn_up.weight", TensorType::q4_0);
  broken = true;
  EXPECT_THROW(m.measure("blk.0.ffn_down.weight", TensorType::q4_0), Error);
  broken = false;
  EXPECT_EQ(m.measure("blk.0.ffn_up.weight", TensorType::q4_0), before);
}

TEST_F(SensitivityTest, ResumesFromItsCacheWithTheSameResult) {
  const std::vector<AllocatableTensor> tensors = {
      {"blk.0.ffn_up.weight", {TensorType::q4_0, TensorType::q8_0}},
      {"blk.1.attn_v.weight", {TensorType::q4_0, TensorType::q5_1}},
      {"output.weight", {TensorType::q8_0}},
  };
  const auto run = [&](SensitivityMeter& m, const Task& task) {
    return measure_sensitivity(m, tensors, SensitivityEffort::every_type, task);
  };
  const std::vector<TypeLoss> expected = run(*meter(), {});
  ASSERT_EQ(expected.size(), 5u);
  CancelToken cancel;
  Task stopping;
  stopping.cancel = &cancel;
  stopping.progress = [&](uint64_t done, uint64_t, std::string_view) {
    if (done >= 4) cancel.cancel();  // two measurements of a tensor of the first layer
  };
  {
    Journal cache(cache_path_);
    EXPECT_THROW(run(*meter(&cache), stopping), Error);
    EXPECT_EQ(cache.size(), 2u);
  }
  {  // what a killed process leaves
    const std::string text = read_file(cache_path_, 1 << 20);
    write_file_atomically(cache_path_, text + "{\"key\":\"sensitivity/blk.1.at");
  }
  Journal cache(cache_path_);
  n_rounded_ = 0;
  const std::vector<TypeLoss> resumed = run(*meter(&cache), {});
  EXPECT_EQ(n_rounded_, 3);
  ASSERT_EQ(resumed.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(resumed[i].tensor, expected[i].tensor);
    EXPECT_EQ(resumed[i].type, expected[i].type);
    EXPECT_EQ(resumed[i].loss, expected[i].loss);
  }
  EXPECT_EQ(meter(&cache)->cost("output.weight", TensorType::q8_0), 0u);
  settings_.rounding_key = "another";
  EXPECT_EQ(meter(&cache)->cost("output.weight", TensorType::q8_0), 1u);
}

TEST_F(SensitivityTest, RefusesACacheThatHoldsNoDivergence) {
  Journal cache(cache_path_);
  meter(&cache)->measure("output.weight", TensorType::q8_0);
  std::string text = read_file(cache_path_, 1 << 20);
  for (const std::string value : {R"({"value":-1.0})", R"({"value":"x"})", R"({})", "7"}) {
    const std::string key = text.substr(0, text.find(",\"value\""));
    const std::string path = folder_ + "/damaged.jsonl";
    write_file_atomically(path, key + ",\"value\":" + value + "}\n");
    Journal damaged(path);
    try {
      meter(&damaged)->measure("output.weight", TensorType::q8_0);
      FAIL() << "no error for " << value;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::corrupt) << value;
      EXPECT_NE(std::string(e.what()).find("output.weight"), std::string::npos) << e.what();
    }
  }
}

TEST_F(SensitivityTest, OneTypeScalesByTheErrorOfRounding) {
  const std::vector<AllocatableTensor> tensors = {
      {"blk.0.ffn_up.weight", {TensorType::q8_0, TensorType::q5_0, TensorType::q4_0}}};
  const auto m = meter();
  const auto losses = measure_sensitivity(*m, tensors, SensitivityEffort::one_type, {});
  ASSERT_EQ(losses.size(), 3u);
  const double known = m->measure("blk.0.ffn_up.weight", TensorType::q4_0);
  EXPECT_EQ(losses[2].loss, known);
  const double ratio = m->rounding_error("blk.0.ffn_up.weight", TensorType::q5_0) /
                       m->rounding_error("blk.0.ffn_up.weight", TensorType::q4_0);
  EXPECT_DOUBLE_EQ(losses[1].loss, known * ratio);
  // One bit less is twice the step and four times its square; the search for scales blurs that.
  EXPECT_GT(ratio, 0.15);
  EXPECT_LT(ratio, 0.4);
}

TEST_F(SensitivityTest, RoundingErrorIsWeightedByTheImportanceOfColumns) {
  // All the importance on column 3: the error is that column's alone.
  std::vector<float>& importance = settings_.importance["blk.0.attn_q.weight"];
  importance.assign(64, 0.0f);
  importance[3] = 2.0f;
  const GgufTensor& tensor = synthetic_.gguf.tensor("blk.0.attn_q.weight");
  const CandidateWeights rounded = encode_rows(tensor, TensorType::q4_0);
  std::vector<float> before(64), after(64);
  double error = 0, square = 0;
  for (int64_t r = 0; r < tensor.view.n_rows(); ++r) {
    traits(TensorType::f32).decode(tensor.view.row(r), before.data(), 64);
    traits(TensorType::q4_0).decode(rounded.data.data() + r * 36, after.data(), 64);
    error += (after[3] - before[3]) * (after[3] - before[3]);
    square += before[3] * before[3];
  }
  EXPECT_NEAR(meter()->rounding_error("blk.0.attn_q.weight", TensorType::q4_0), error / square, 1e-6);
}

TEST_F(SensitivityTest, SearchRoundingIsTheSpecificationWithImportance) {
  Importance importance;
  importance["blk.0.attn_q.weight"].assign(64, 1.0f);
  importance["blk.0.attn_q.weight"][5] = 1000.0f;
  const RoundFn search = search_rounding("model", importance, pool_);
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight"}) {
    const GgufTensor& tensor = synthetic_.gguf.tensor(name);
    const CandidateWeights got = search(tensor, TensorType::q4_0);
    const auto found = importance.find(name);
    std::vector<float> row(64);
    std::vector<std::byte> expected(36);
    for (int64_t r = 0; r < tensor.view.n_rows(); ++r) {
      traits(TensorType::f32).decode(tensor.view.row(r), row.data(), 64);
      traits(TensorType::q4_0)
          .encode(row.data(), found == importance.end() ? nullptr : found->second.data(), expected.data(), 64);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), got.data.data() + r * 36)) << name << " row " << r;
    }
  }
}

TEST_F(SensitivityTest, RefusesTokensAndTensorsThatAreNone) {
  EXPECT_THROW(meter()->measure("blk.7.ffn_up.weight", TensorType::q8_0), Error);
  EXPECT_THROW(meter()->measure("blk.0.attn_norm.weight", TensorType::q8_0), Error);
  const auto sequences = settings_.sequences;
  for (const std::vector<int32_t>& bad : {std::vector<int32_t>{1}, std::vector<int32_t>{1, 264},
                                          std::vector<int32_t>{1, -1}, std::vector<int32_t>(129, 5)}) {
    settings_.sequences = sequences;
    settings_.sequences.push_back(bad);
    EXPECT_THROW(meter(), Error);
  }
  settings_.sequences = {};
  EXPECT_THROW(meter(), Error);
}

}  // namespace
}  // namespace thimble
