// Folds against the double-precision reference forward: the function stays, at every site, for every architecture.
#include "quantize/fold.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "base/error.h"
#include "quantize/fold_model_test.h"

namespace thimble {
namespace {

ModelConfig shape(const char* architecture, int64_t n_head, int64_t n_head_kv) {
  ModelConfig config = tiny_config(architecture);
  config.n_head = n_head;
  config.n_head_kv = n_head_kv;
  return config;
}

/// Factors between 1/8 and 8, equal where the site ties them.
std::vector<float> random_factors(const FoldSite& site, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<float> s(static_cast<size_t>(site.n));
  for (float& factor : s) factor = std::exp2(static_cast<float>(generator() % 6001) / 1000.0f - 3.0f);
  tie_factors(site, seed % 2 == 0 ? TieBy::mean : TieBy::max, s);
  return s;
}

struct Shape {
  const char* architecture;
  int64_t n_head, n_head_kv;
  bool tied;
};

class FoldedModel : public testing::TestWithParam<Shape> {};

TEST_P(FoldedModel, ComputesTheSameLogitsUnderRandomFoldsAtAllSites) {
  const auto [architecture, n_head, n_head_kv, tied] = GetParam();
  const ModelConfig config = shape(architecture, n_head, n_head_kv);
  SyntheticModel model = make_fold_model(config, tied);
  const auto before = reference_logits(model.gguf);
  const FoldSites places = fold_sites(config, model.gguf);
  ASSERT_EQ(places.sites.size(), 4u * static_cast<size_t>(config.n_layer));
  EXPECT_TRUE(places.skipped.empty());
  FoldPlan plan;
  for (size_t i = 0; i < places.sites.size(); ++i) {
    const FoldSite& site = places.sites[i];
    compose(&plan, plan_of_site(site, random_factors(site, static_cast<uint32_t>(i))));
  }
  EXPECT_EQ(find_scales(plan, "token_embd.weight"), nullptr);
  EXPECT_EQ(find_scales(plan, "output.weight"), nullptr);
  EXPECT_EQ(find_scales(plan, "output_norm.weight"), nullptr);
  EXPECT_EQ(find_scales(plan, "blk.0.attn_v.bias") != nullptr, config.has_qkv_bias);
  fold_image(&model, plan);
  EXPECT_LT(change_of_logits(before, model.gguf), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Shapes, FoldedModel,
                         testing::Values(Shape{"llama", 4, 4, false}, Shape{"llama", 4, 2, true},
                                         Shape{"llama", 6, 2, false}, Shape{"qwen2", 4, 2, true},
                                         Shape{"qwen2", 6, 1, false}));

// Each half of a fold alone must be visible, or the test above would prove nothing.
TEST(Fold, HalfOfAnyFoldChangesTheLogits) {
  const ModelConfig config = shape("qwen2", 4, 2);
  const SyntheticModel original = make_fold_model(config, true);
  const auto before = reference_logits(original.gguf);
  const FoldSites places = fold_sites(config, original.gguf);
  for (size_t i = 0; i < 4; ++i) {
    const FoldSite& site = places.sites[i];
    const FoldPlan whole = plan_of_site(site, random_factors(site, 7));
    for (const auto& left_out : whole) {
      SyntheticModel model = make_fold_model(config, true);
      FoldPlan plan = whole;
      plan.erase(left_out.first);
      fold_image(&model, plan);
      EXPECT_GT(change_of_logits(before, model.gguf), 1e-4) << site.name() << " without " << left_out.first;
    }
  }
}

TEST(Fold, UntiedFactorsAreRefusedAndTiedOnesAreMeanOrMax) {
  const ModelConfig config = shape("llama", 6, 2);  // three query heads on one of values
  const SyntheticModel model = make_fold_model(config, false);
  const FoldSite site = fold_sites(config, model.gguf).sites.at(1);
  ASSERT_EQ(site.kind, FoldKind::attn_output);
  EXPECT_EQ(site.n_rep, 3);
  EXPECT_EQ(site.name(), "blk.0.attn_output");
  std::vector<float> s(static_cast<size_t>(site.n), 1.0f);
  s[0] = 2.0f, s[16] = 4.0f, s[32] = 8.0f;  // channel 0 of heads 0, 1, 2
  EXPECT_THROW(plan_of_site(site, s), Error);
  std::vector<float> mean = s, largest = s;
  tie_factors(site, TieBy::mean, mean);
  tie_factors(site, TieBy::max, largest);
  for (const size_t i : {0u, 16u, 32u}) {
    EXPECT_NEAR(mean[i], 4.0f, 1e-6f);
    EXPECT_EQ(largest[i], 8.0f);
  }
  const FoldPlan plan = plan_of_site(site, largest);
  EXPECT_EQ(plan.at("blk.0.attn_v.weight").rows.size(), 32u);
  EXPECT_EQ(plan.at("blk.0.attn_v.weight").rows[0], 0.125f);
  EXPECT_EQ(plan.at("blk.0.attn_output.weight").columns[32], 8.0f);
}

TEST(Fold, PlansAreCheckedAgainstTheModel) {
  const ModelConfig config = shape("llama", 4, 2);
  const SyntheticModel model = make_fold_model(config, false);
  const FoldSite site = fold_sites(config, model.gguf).sites.at(0);
  std::vector<float> s(64, 1.0f);
  EXPECT_NO_THROW(check_plan(plan_of_site(site, s), model.gguf));
  EXPECT_THROW(plan_of_site(site, std::span(s).first(63)), Error);
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    s[5] = bad;
    EXPECT_THROW(plan_of_site(site, s), Error) << bad;
  }
  EXPECT_THROW(check_plan({{"blk.9.attn_q.weight", {}}}, model.gguf), Error);
  EXPECT_THROW(check_plan({{"blk.0.attn_q.weight", {{1.0f, 1.0f}, {}}}}, model.gguf), Error);
  EXPECT_THROW(check_plan({{"blk.0.attn_norm.weight", {{}, std::vector<float>(64, 1.0f)}}}, model.gguf), Error);
  FoldPlan plan = {{"a", {{1.0f, 2.0f}, {}}}};
  EXPECT_THROW(compose(&plan, {{"a", {{1.0f}, {}}}}), Error);
  compose(&plan, {{"a", {{3.0f, 4.0f}, {5.0f}}}});
  EXPECT_EQ(plan.at("a").rows, (std::vector<float>{3.0f, 8.0f}));
  EXPECT_EQ(plan.at("a").columns, (std::vector<float>{5.0f}));
}

/// Places of a model whose tensors were changed by `change_tensors`.
FoldSites places_of(const std::function<void(std::vector<GgufTensorPlan>&)>& change_tensors) {
  const ModelConfig config = tiny_config();
  std::vector<GgufTensorPlan> tensors = synthetic_tensors(config, TensorType::f32, false);
  change_tensors(tensors);
  ThreadPool pool(1);
  const SyntheticModel model = make_synthetic_model(config, tensors, {}, pool);
  return fold_sites(config, model.gguf);
}

GgufTensorPlan& tensor_of(std::vector<GgufTensorPlan>& tensors, std::string_view name) {
  return *std::find_if(tensors.begin(), tensors.end(), [&](const auto& tensor) { return tensor.name == name; });
}

TEST(Fold, WhatDoesNotFitIsSkippedWithItsReason) {
  const FoldSites expert = places_of([](auto& tensors) {
    tensors.push_back({"blk.1.ffn_gate_inp.weight", TensorType::f32, 2, {64, 4, 1, 1}});
  });
  EXPECT_EQ(expert.sites.size(), 4u);
  ASSERT_EQ(expert.skipped.size(), 4u);
  EXPECT_NE(expert.skipped[0].reason.find("blk.1.ffn_gate_inp.weight"), std::string::npos);

  const FoldSites rounded_norm =
      places_of([](auto& tensors) { tensor_of(tensors, "blk.0.ffn_norm.weight").type = TensorType::f16; });
  ASSERT_EQ(rounded_norm.skipped.size(), 1u);
  EXPECT_EQ(rounded_norm.skipped[0].kind, FoldKind::gate_up);
  EXPECT_NE(rounded_norm.skipped[0].reason.find("f16"), std::string::npos);

  const FoldSites missing = places_of([](auto& tensors) { tensor_of(tensors, "blk.0.ffn_up.weight").name = "other"; });
  ASSERT_EQ(missing.skipped.size(), 2u);
  EXPECT_NE(missing.skipped[0].reason.find("missing"), std::string::npos);

  const FoldSites wrong_shape = places_of([](auto& tensors) {
    tensor_of(tensors, "blk.1.attn_output.weight").ne = {32, 64, 1, 1};
  });
  ASSERT_EQ(wrong_shape.skipped.size(), 1u);
  EXPECT_NE(wrong_shape.skipped[0].reason.find("[32, 64, 1, 1]"), std::string::npos);
}

TEST(Fold, StatisticsFollowTheInputs) {
  constexpr size_t kN = 3;
  const std::vector<float> s = {2.0f, 0.5f, 4.0f};
  std::vector<float> x = {1.0f, -2.0f, 3.0f, 4.0f, 5.0f, -6.0f};  // two rows
  const auto moment = [&] {
    std::vector<float> h(kN * kN, 0.0f);
    for (size_t t = 0; t < 2; ++t) {
      for (size_t i = 0; i < kN * kN; ++i) h[i] += x[t * kN + i / kN] * x[t * kN + i % kN] / 2.0f;
    }
    return h;
  };
  std::vector<float> h = moment(), mean_abs = {2.5f, 3.5f, 4.5f}, mean_square = {h[0], h[4], h[8]};
  fold_second_moment(s, h.data());
  fold_statistic(s, 1, mean_abs);
  fold_statistic(s, 2, mean_square);
  fold_inputs(s, x.data(), 2);
  const std::vector<float> want = moment();
  for (size_t i = 0; i < h.size(); ++i) EXPECT_NEAR(h[i], want[i], 1e-6f) << i;
  for (size_t i = 0; i < kN; ++i) {
    EXPECT_NEAR(mean_square[i], want[i * kN + i], 1e-6f);
    EXPECT_NEAR(mean_abs[i], (std::abs(x[i]) + std::abs(x[kN + i])) / 2.0f, 1e-6f);
  }
  fold_statistic({}, 2, mean_square);
  EXPECT_NEAR(mean_square[0], want[0], 1e-6f);
}

}  // namespace
}  // namespace thimble
