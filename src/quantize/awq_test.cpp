// AWQ's formulas by hand, its loss against the plainest double-precision sum, and its decisions on planted outliers.
#include "quantize/awq.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "quantize/fold_model_test.h"
#include "quantize/fold_rounding.h"

namespace thimble {
namespace {

FoldSite site_of(int64_t n) {
  FoldSite site;
  site.n = n;
  return site;
}

SampledMatrix random_matrix(TensorType type, int64_t n_rows, int64_t n, uint32_t seed) {
  return {"w", type, n_rows, planted_inputs(n_rows, n, -1, seed)};
}

/// (sum of (e . x)^2 over e = (Q(W S) S^-1 - W) rows and x) / (sum of (w . x)^2), rows rounded one by one.
double naive_loss(const SampledMatrix& matrix, const std::vector<float>& x, const std::vector<float>& importance,
                  const std::vector<float>& s) {
  const size_t n = s.size();
  const TypeTraits& type = traits(matrix.type);
  std::vector<float> weights(n), folded(n), rounded(n);
  for (size_t i = 0; i < n; ++i) weights[i] = importance[i] / s[i] / s[i];
  std::vector<std::byte> blocks(n / type.block_elems * type.block_bytes);
  double error = 0, energy = 0;
  for (int64_t r = 0; r < matrix.n_rows; ++r) {
    const float* row = matrix.rows.data() + static_cast<size_t>(r) * n;
    for (size_t i = 0; i < n; ++i) folded[i] = row[i] * s[i];
    type.encode(folded.data(), weights.data(), blocks.data(), static_cast<int64_t>(n));
    type.decode(blocks.data(), rounded.data(), static_cast<int64_t>(n));
    for (size_t t = 0; t < x.size(); t += n) {
      double e = 0, w = 0;
      for (size_t i = 0; i < n; ++i) {
        const double difference =
            static_cast<double>(rounded[i]) / static_cast<double>(s[i]) - static_cast<double>(row[i]);
        e += difference * static_cast<double>(x[t + i]);
        w += static_cast<double>(row[i]) * static_cast<double>(x[t + i]);
      }
      error += e * e;
      energy += w * w;
    }
  }
  return error / energy;
}

class Awq : public testing::Test {
 protected:
  static AwqSettings quick() {
    AwqSettings settings;
    settings.n_grid = 6;
    settings.search_rows = 24;
    return settings;
  }
  Awq() : pool_(2), backend_(ops::make_backend(pool_, kernels::Isa::scalar)) {}
  ThreadPool pool_;
  ops::Backend backend_;
};

TEST_F(Awq, LossIsTheOutputErrorOfTheRoundedRows) {
  constexpr int64_t kN = 64;
  const std::vector<float> x = planted_inputs(40, kN, 3, 11);
  const CalibrationEntry entry = entry_of(site_of(kN), x, {});
  std::vector<float> s(kN);
  for (size_t i = 0; i < s.size(); ++i) s[i] = 0.5f + static_cast<float>(i % 5);
  for (const TensorType type : {TensorType::q4_0, TensorType::q4_1, TensorType::iq4_nl}) {
    const std::vector<SampledMatrix> matrices = {random_matrix(type, 7, kN, 1), random_matrix(type, 130, kN, 2)};
    const double want = (naive_loss(matrices[0], x, entry.statistics.mean_square, s) +
                         naive_loss(matrices[1], x, entry.statistics.mean_square, s)) /
                        2.0;
    SiteLoss by_moment(backend_, matrices, entry.statistics.mean_square,
                       {InputMeasure::Kind::second_moment, entry.second_moment.data(), 0});
    SiteLoss by_rows(backend_, matrices, entry.statistics.mean_square, {InputMeasure::Kind::rows, x.data(), 40});
    EXPECT_NEAR(by_moment.of(s, round_by_search(backend_)), want, 1e-4 * want);
    EXPECT_NEAR(by_rows.of(s, round_by_search(backend_)), want, 1e-4 * want);
  }
}

TEST_F(Awq, UncorrelatedInputsNeedNoMoment) {
  constexpr int64_t kN = 32;
  std::vector<float> moment(kN * kN, 0.0f), squares(kN);
  for (size_t i = 0; i < kN; ++i) squares[i] = moment[i * kN + i] = 1.0f + static_cast<float>(i);
  const std::vector<SampledMatrix> matrices = {random_matrix(TensorType::q4_0, 9, kN, 5)};
  const std::vector<float> ones(kN, 1.0f);
  SiteLoss by_diagonal(backend_, matrices, squares, {InputMeasure::Kind::diagonal, squares.data(), 0});
  SiteLoss by_moment(backend_, matrices, squares, {InputMeasure::Kind::second_moment, moment.data(), 0});
  const double want = by_moment.of(ones, round_by_search(backend_));
  EXPECT_GT(want, 0.0);
  EXPECT_NEAR(by_diagonal.of(ones, round_by_search(backend_)), want, 1e-5 * want);
}

TEST_F(Awq, FactorsFollowTheFormulas) {
  const std::vector<float> x = {1.0f, 4.0f, 16.0f}, w = {1.0f, 0.25f, 1.0f};
  const std::vector<float> plain = awq_factors(site_of(3), AwqForm::plain, 0.5, TieBy::mean, x, w);
  EXPECT_NEAR(plain[0], 0.5f, 1e-6f);  // 1, 2, 4 over sqrt(1 * 4)
  EXPECT_NEAR(plain[1], 1.0f, 1e-6f);
  EXPECT_NEAR(plain[2], 2.0f, 1e-6f);
  const std::vector<float> duo = awq_factors(site_of(3), AwqForm::duo, 0.5, TieBy::mean, x, w);
  const double a = 1.0 / 1.0001, b = 2.0 / 0.5001, c = 4.0 / 1.0001;
  EXPECT_NEAR(static_cast<double>(duo[0]), a / std::sqrt(a * c), 1e-6);
  EXPECT_NEAR(static_cast<double>(duo[1]), b / std::sqrt(a * c), 1e-6);
  EXPECT_NEAR(static_cast<double>(duo[2]), c / std::sqrt(a * c), 1e-6);

  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> dead =
      awq_factors(site_of(4), AwqForm::plain, 0.95, TieBy::mean, std::vector<float>{0.0f, infinity, 1.0f, 2.0f},
                  std::vector<float>(4, 1.0f));
  for (const float factor : dead) {
    EXPECT_GE(factor, 1.0f / kLargestFactor);
    EXPECT_LE(factor, kLargestFactor);
  }
  EXPECT_EQ(dead[1], 1.0f);
}

TEST_F(Awq, WeightMeansAreRelativeToTheLargestOfTheGroup) {
  std::vector<float> rows(64, 1.0f);
  rows[0] = -4.0f;  // group of columns 0..31: largest 4
  rows[33] = 0.5f;  // group 32..63: largest 1
  const std::vector<SampledMatrix> matrices = {{"w", TensorType::q4_0, 1, rows}};
  const std::vector<float> means = weight_means(matrices, 64);
  EXPECT_NEAR(means[0], 1.0f, 1e-5f);
  EXPECT_NEAR(means[1], 0.25f, 1e-5f);
  EXPECT_NEAR(means[33], 0.5f, 1e-5f);
  EXPECT_NEAR(means[40], 1.0f, 1e-5f);
}

TEST_F(Awq, PlantedOutliersAreFoldedAndTheModelStaysTheSame) {
  for (const char* architecture : {"llama", "qwen2"}) {
    SyntheticModel model = make_fold_model(one_layer(architecture), true);
    const Logits before = reference_logits(model.gguf);
    const Calibration calibration = planted_calibration(model.gguf);
    const std::vector<TypeChoice> choices = all_as(model.gguf, TensorType::q4_0);
    const FoldSearch found = search_awq(model.gguf, calibration, choices, quick(), backend_);
    ASSERT_EQ(found.choices.size(), 4u);
    EXPECT_TRUE(found.skipped.empty());
    for (const FoldChoice& choice : found.choices) {
      EXPECT_TRUE(choice.heldout);
      EXPECT_TRUE(choice.folded) << choice.site << " " << choice.final_identity << " " << choice.final_loss;
      EXPECT_LT(choice.final_loss, 0.9 * choice.final_identity) << choice.site;
    }
    fold_image(&model, found.plan);
    EXPECT_LT(change_of_logits(before, model.gguf), 1e-5);

    // What a fold promised is what plain rounding of the folded model gives over folded statistics.
    const auto& down = found.choices[3];
    const auto matrices =
        sample_site(model.gguf, fold_sites(read_model_config(model.gguf), model.gguf).sites[3], choices, 512);
    ASSERT_EQ(down.site, "blk.0.down");
    const std::vector<float>& s = find_scales(found.plan, "blk.0.ffn_down.weight")->columns;
    std::vector<float> squares = calibration.find("blk.0.ffn_down.weight")->mean_square;
    const HeldOut heldout = calibration.heldout("blk.0.ffn_down.weight");
    std::vector<float> x(heldout.rows, heldout.rows + heldout.n_rows * heldout.n_in);
    fold_statistic(s, 2, squares);
    fold_inputs(s, x.data(), heldout.n_rows);
    const double plain = naive_loss(matrices[0], x, squares, std::vector<float>(s.size(), 1.0f));
    EXPECT_NEAR(plain, down.final_loss, 1e-3 * plain);
  }
}

TEST_F(Awq, HeldOutInputsOverruleTheSearch) {
  const SyntheticModel model = make_fold_model(one_layer(), true);
  const Calibration elsewhere = planted_calibration(model.gguf, 11);  // outliers in other channels
  const FoldSearch found = search_awq(model.gguf, elsewhere, all_as(model.gguf, TensorType::q4_0), quick(), backend_);
  ASSERT_EQ(found.choices.size(), 4u);
  size_t n_overruled = 0;
  for (const FoldChoice& choice : found.choices) {
    EXPECT_LT(choice.loss, choice.loss_identity) << choice.site;
    EXPECT_EQ(choice.folded, choice.final_loss < 0.99 * choice.final_identity) << choice.site;
    n_overruled += choice.folded ? 0 : 1;
  }
  EXPECT_GE(n_overruled, 2u);
}

TEST_F(Awq, TheRoundingInUseDecides) {
  const SyntheticModel model = make_fold_model(one_layer(), true);
  const Calibration calibration = planted_calibration(model.gguf);
  AwqSettings settings = quick();
  settings.kinds = {FoldKind::down};
  int n_calls = 0;
  settings.final_round = [&](const RowsToRound& job, float* out) {  // exact where nothing is folded
    const bool identity = std::all_of(job.factors.begin(), job.factors.end(), [](float s) { return s == 1.0f; });
    for (int64_t i = 0; i < job.n_rows * job.n; ++i) out[i] = identity ? job.weights[i] : 0.0f;
    ++n_calls;
  };
  const FoldSearch found =
      search_awq(model.gguf, calibration, all_as(model.gguf, TensorType::q4_0), settings, backend_);
  ASSERT_EQ(found.choices.size(), 1u);
  EXPECT_EQ(n_calls, 1 + settings.n_finalists);
  EXPECT_TRUE(found.plan.empty());
  EXPECT_EQ(found.choices[0].final_identity, 0.0);
  EXPECT_NEAR(found.choices[0].final_loss, 1.0, 1e-6);
}

TEST_F(Awq, SecondOrderRoundingSeesFoldedStatistics) {
  const SyntheticModel model = make_fold_model(one_layer(), true);
  const FoldSite site = fold_sites(read_model_config(model.gguf), model.gguf).sites[3];
  const auto correlated = [&](int64_t n_rows, uint32_t seed) {  // neighbours share most of their value
    std::vector<float> x = planted_inputs(n_rows, site.n, -1, seed);
    for (size_t i = 1; i < x.size(); ++i) x[i] += 0.9f * x[i - 1];
    return x;
  };
  const CalibrationEntry entry = entry_of(site, correlated(512, 3), correlated(64, 4));
  const Calibration calibration = Calibration::from_entries({}, {&entry, 1});
  const auto matrices = sample_site(model.gguf, site, all_as(model.gguf, TensorType::q4_0), 16);
  const std::string& name = matrices.at(0).name;
  const InputStatistics& statistics = *calibration.find(name);
  std::vector<float> s(static_cast<size_t>(site.n));
  for (size_t i = 0; i < s.size(); ++i) s[i] = 1.0f + static_cast<float>(i % 4);
  RoundingSettings settings;
  settings.method = RoundingMethod::gptq;
  settings.damps = {0.03};
  Rounder rounder(backend_, settings), fresh(backend_, settings);
  const RoundRowsFn by_method = round_by_method(&rounder, calibration);

  SecondMoment moment = calibration.second_moment(name);
  SiteLoss loss(backend_, matrices, statistics.mean_square,
                {InputMeasure::Kind::second_moment, moment.values.data(), 0});
  const std::vector<float> ones(s.size(), 1.0f);
  EXPECT_LT(loss.of(ones, by_method), loss.of(ones, round_by_search(backend_)));  // another fold before the one asked

  std::vector<float> folded = matrices[0].rows, squares = statistics.mean_square, got(folded.size()),
                     want(folded.size());
  for (size_t i = 0; i < folded.size(); ++i) folded[i] *= s[i % s.size()];
  fold_statistic(s, 2, squares);
  const RowsToRound job = {name, TensorType::q4_0, folded.data(), matrices[0].n_rows, site.n, squares, s};
  by_method(job, got.data());
  fold_second_moment(s, moment.values.data());
  RoundingInput input;
  input.name = name;
  input.weights = folded.data();
  input.n_out = job.n_rows;
  input.n_in = job.n;
  input.type = job.type;
  input.importance = squares;
  input.second_moment = &moment;
  const HeldOut heldout = calibration.heldout(name);
  std::vector<float> rows(heldout.rows, heldout.rows + heldout.n_rows * heldout.n_in);
  fold_inputs(s, rows.data(), heldout.n_rows);
  input.heldout = {heldout.n_rows, heldout.n_in, rows.data()};
  traits(job.type).decode(fresh.round(input).bytes.data(), want.data(), job.n_rows * job.n);
  EXPECT_EQ(got, want);
}

TEST_F(Awq, SitesWithoutStatisticsOrRoundingAreSkippedAndCounted) {
  const SyntheticModel model = make_fold_model(one_layer(), true);
  const FoldSearch floats =
      search_awq(model.gguf, planted_calibration(model.gguf), all_as(model.gguf, TensorType::f16), quick(), backend_);
  EXPECT_EQ(floats.skipped.size(), 4u);
  EXPECT_TRUE(floats.choices.empty());

  const FoldSite first = fold_sites(read_model_config(model.gguf), model.gguf).sites[0];
  CalibrationEntry entry = entry_of(first, planted_inputs(256, first.n, 5, 3), {});
  entry.second_moment.clear();  // as from a run without --second-moments
  const Calibration little = Calibration::from_entries({}, {&entry, 1});
  std::vector<std::string> lines;
  Task task;
  task.log = [&](LogLevel level, std::string_view line) {
    if (level != LogLevel::debug) lines.emplace_back(line);
  };
  const FoldSearch found =
      search_awq(model.gguf, little, all_as(model.gguf, TensorType::q4_0), quick(), backend_, task);
  EXPECT_EQ(found.skipped.size(), 3u);
  ASSERT_EQ(found.choices.size(), 1u);
  EXPECT_FALSE(found.choices[0].heldout);
  EXPECT_TRUE(found.choices[0].folded);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find("1 of 1 sites folded"), std::string::npos) << lines[0];
  EXPECT_NE(lines[1].find("3 sites have no fold"), std::string::npos) << lines[1];
}

TEST_F(Awq, BadInputIsRefused) {
  SyntheticModel model = make_fold_model(one_layer(), true);
  const Calibration calibration = planted_calibration(model.gguf);
  std::vector<TypeChoice> choices = all_as(model.gguf, TensorType::q4_0);
  const SyntheticModel other = make_fold_model(one_layer(), false);
  EXPECT_THROW(search_awq(other.gguf, calibration, all_as(other.gguf, TensorType::q4_0), quick(), backend_), Error);
  choices.pop_back();
  EXPECT_THROW(search_awq(model.gguf, calibration, choices, quick(), backend_), Error);

  CancelToken cancel;
  cancel.cancel();
  Task task;
  task.cancel = &cancel;
  choices = all_as(model.gguf, TensorType::q4_0);
  EXPECT_THROW(search_awq(model.gguf, calibration, choices, quick(), backend_, task), Error);

  const TensorView& view = model.gguf.tensor("blk.0.attn_k.weight").view;
  const auto offset = static_cast<size_t>(view.data.data() - model.image.data());
  reinterpret_cast<float*>(model.image.data() + offset)[64] = std::nanf("");
  try {
    sample_site(model.gguf, fold_sites(read_model_config(model.gguf), model.gguf).sites[0], choices, 512);
    FAIL() << "a NaN passed";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::corrupt);
    EXPECT_NE(std::string(e.what()).find("blk.0.attn_k.weight: row 1: found NaN"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace thimble
