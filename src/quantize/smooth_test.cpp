// SmoothQuant's formula by hand, its W8A8 error against the plainest sums, and its gain on planted outlier channels.
#include "quantize/smooth.h"

#include <gtest/gtest.h>

#include "base/cpu.h"
#include "base/error.h"
#include "quantize/fold_model_test.h"

namespace thimble {
namespace {

class Smooth : public testing::Test {
 protected:
  Smooth() : pool_(2), backend_(ops::make_backend(pool_, kernels::best_isa(host_cpu()))) {}
  ThreadPool pool_;
  ops::Backend backend_;
};

/// x rounded to int8 with one scale per `group` values.
std::vector<double> rounded(std::vector<double> x, size_t group) {
  for (size_t first = 0; first < x.size(); first += group) {
    double largest = 0;
    for (size_t i = first; i < first + group; ++i) largest = std::max(largest, std::abs(x[i]));
    for (size_t i = first; i < first + group; ++i) x[i] = std::nearbyint(x[i] * 127.0 / largest) * largest / 127.0;
  }
  return x;
}

/// Relative error of Q(W S) round(X / S) against W X for one matrix in q8_0; activations in groups of `group`.
double naive_loss(const SampledMatrix& matrix, const std::vector<float>& x, const std::vector<float>& s, size_t group) {
  const size_t n = s.size();
  const TypeTraits& type = traits(TensorType::q8_0);
  std::vector<float> row(n);
  std::vector<std::byte> blocks(n / type.block_elems * type.block_bytes);
  double error = 0, energy = 0;
  for (size_t t = 0; t < x.size(); t += n) {
    std::vector<double> inputs(n);
    for (size_t i = 0; i < n; ++i) inputs[i] = static_cast<double>(x[t + i] / s[i]);
    inputs = rounded(inputs, group);
    for (size_t at = 0; at < matrix.rows.size(); at += n) {
      for (size_t i = 0; i < n; ++i) row[i] = matrix.rows[at + i] * s[i];
      type.encode(row.data(), nullptr, blocks.data(), static_cast<int64_t>(n));
      type.decode(blocks.data(), row.data(), static_cast<int64_t>(n));
      double got = 0, want = 0;
      for (size_t i = 0; i < n; ++i) {
        got += static_cast<double>(row[i]) * inputs[i];
        want += static_cast<double>(matrix.rows[at + i]) * static_cast<double>(x[t + i]);
      }
      error += (got - want) * (got - want);
      energy += want * want;
    }
  }
  return error / energy;
}

TEST_F(Smooth, FactorsFollowTheFormula) {
  FoldSite site;
  site.n = 3;
  const std::vector<float> x = {4.0f, 1.0f, 64.0f}, w = {1.0f, 0.25f, 4.0f};
  const std::vector<float> s = smooth_factors(site, 0.5, x, w);  // 2, 2, 4 over sqrt(8)
  EXPECT_NEAR(s[0], 2.0 / std::sqrt(8.0), 1e-6);
  EXPECT_NEAR(s[1], 2.0 / std::sqrt(8.0), 1e-6);
  EXPECT_NEAR(s[2], 4.0 / std::sqrt(8.0), 1e-6);
  const std::vector<float> by_x = smooth_factors(site, 1.0, x, w);  // 4, 1, 64 over 8
  EXPECT_NEAR(by_x[2], 8.0f, 1e-5f);
}

TEST_F(Smooth, LossIsTheErrorOfTheRoundedProduct) {
  constexpr int64_t kN = 256;
  const std::vector<float> x = planted_inputs(6, kN, 3, 21);
  const std::vector<SampledMatrix> matrices = {{"w", TensorType::q8_0, 9, planted_inputs(9, kN, -1, 22)}};
  std::vector<float> s(kN);
  for (size_t i = 0; i < s.size(); ++i) s[i] = 0.5f + static_cast<float>(i % 3);
  SmoothLoss per_token(backend_, matrices, ActivationRounding::per_token, x);
  SmoothLoss engine(backend_, matrices, ActivationRounding::engine, x);
  const double want_token = naive_loss(matrices[0], x, s, kN), want_block = naive_loss(matrices[0], x, s, 32);
  EXPECT_GT(want_token, 2.0 * want_block);  // otherwise the two could be mistaken for each other
  // A value half way between two codes may fall to either side: one of 1536 moves the sum by less than a percent.
  EXPECT_NEAR(per_token.of(s), want_token, 0.01 * want_token);
  EXPECT_NEAR(engine.of(s), want_block, 0.01 * want_block);
}

TEST_F(Smooth, PlantedOutliersLeaveThePerTokenErrorAndTheModelStaysTheSame) {
  for (const char* architecture : {"llama", "qwen2"}) {
    SyntheticModel model = make_fold_model(one_layer(architecture), true);
    const Logits before = reference_logits(model.gguf);
    const Calibration calibration = planted_calibration(model.gguf);
    const FoldSearch found = search_smooth(model.gguf, calibration, all_as(model.gguf, TensorType::q8_0), {}, backend_);
    ASSERT_EQ(found.choices.size(), 2u);  // qkv and gate_up
    for (const FoldChoice& choice : found.choices) {
      EXPECT_TRUE(choice.folded) << choice.site;
      EXPECT_LT(choice.final_loss, 0.25 * choice.final_identity) << choice.site;
      EXPECT_GT(choice.ratio, 0.0);
    }
    EXPECT_EQ(find_scales(found.plan, "blk.0.ffn_down.weight"), nullptr);
    EXPECT_EQ(find_scales(found.plan, "blk.0.attn_output.weight"), nullptr);
    fold_image(&model, found.plan);
    EXPECT_LT(change_of_logits(before, model.gguf), 1e-5);

    // The folded model needs no more smoothing of its folded inputs than it got.
    const std::vector<float>& s = find_scales(found.plan, "blk.0.attn_q.weight")->columns;
    const HeldOut heldout = calibration.heldout("blk.0.attn_q.weight");
    std::vector<float> x(heldout.rows, heldout.rows + heldout.n_rows * heldout.n_in);
    fold_inputs(s, x.data(), heldout.n_rows);
    const FoldSite site = fold_sites(read_model_config(model.gguf), model.gguf).sites[0];
    const auto matrices = sample_site(model.gguf, site, all_as(model.gguf, TensorType::q8_0), 256);
    SmoothLoss folded(backend_, matrices, ActivationRounding::per_token, x);
    EXPECT_LT(folded.of(std::vector<float>(s.size(), 1.0f)), 0.3 * found.choices[0].final_identity);
  }
}

TEST_F(Smooth, EngineRoundingNeverGetsWorse) {
  const SyntheticModel model = make_fold_model(one_layer(), true);
  SmoothSettings settings;
  settings.activations = ActivationRounding::engine;
  const FoldSearch found = search_smooth(model.gguf, planted_calibration(model.gguf),
                                         all_as(model.gguf, TensorType::q8_0), settings, backend_);
  ASSERT_EQ(found.choices.size(), 2u);
  for (const FoldChoice& choice : found.choices) {
    EXPECT_EQ(choice.folded, choice.loss < choice.loss_identity && choice.final_loss < 0.99 * choice.final_identity);
  }
}

TEST_F(Smooth, WhatCannotBeMeasuredIsSkipped) {
  const SyntheticModel model = make_fold_model(one_layer(), true);
  const auto sites = fold_sites(read_model_config(model.gguf), model.gguf).sites;
  CalibrationEntry entry = entry_of(sites[0], planted_inputs(64, sites[0].n, 5, 3), {});
  const FoldSearch found = search_smooth(model.gguf, Calibration::from_entries({}, {&entry, 1}),
                                         all_as(model.gguf, TensorType::q8_0), {}, backend_);
  EXPECT_TRUE(found.plan.empty());
  ASSERT_EQ(found.skipped.size(), 2u);
  EXPECT_NE(found.skipped[0].reason.find("held-out"), std::string::npos);
  EXPECT_NE(found.skipped[1].reason.find("maxima"), std::string::npos);
  SmoothSettings settings;
  settings.alpha_step = 0.0;
  EXPECT_THROW(search_smooth(model.gguf, planted_calibration(model.gguf), all_as(model.gguf, TensorType::q8_0),
                             settings, backend_),
               Error);
}

}  // namespace
}  // namespace thimble
