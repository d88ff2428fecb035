// The choice between methods: by held-out inputs, with reasons where a method cannot be used.
#include "quantize/rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "quantize/quantize_test_problem.h"

namespace thimble {
namespace {

class RoundingTest : public testing::Test {
 protected:
  RoundingTest()
      : backend_(ops::make_backend(pool_, kernels::best_isa(host_cpu()))), problem_(random_problem(6, 256, 1)) {
    moment_ = {256, problem_.n_inputs, problem_.h};
  }
  RoundingInput input(TensorType type) const {
    RoundingInput in;
    in.name = "blk.0.ffn_up.weight";
    in.weights = problem_.weights.data();
    in.n_out = problem_.n_out;
    in.n_in = problem_.n_in;
    in.type = type;
    in.importance = problem_.importance();
    in.second_moment = &moment_;
    in.input_name = "blk.0.ffn_gate_up";
    return in;
  }
  // |X (Q - W)^T|^2 / |X W^T|^2 from the stored bytes.
  double error_of(const Rounded& rounded, TensorType type, const HeldOut& x) const {
    const size_t row = *row_bytes(type, 256);
    double error = 0.0;
    double output = 0.0;
    for (int64_t r = 0; r < problem_.n_out; ++r) {
      std::vector<float> q(256);
      traits(type).decode(rounded.bytes.data() + static_cast<size_t>(r) * row, q.data(), 256);
      for (int64_t t = 0; t < x.n_rows; ++t) {
        double e = 0.0;
        double y = 0.0;
        for (int64_t i = 0; i < 256; ++i) {
          const double w = static_cast<double>(problem_.weights[static_cast<size_t>(r * 256 + i)]);
          e += (static_cast<double>(q[static_cast<size_t>(i)]) - w) * static_cast<double>(x.row(t)[i]);
          y += w * static_cast<double>(x.row(t)[i]);
        }
        error += e * e;
        output += y * y;
      }
    }
    return error / output;
  }

  ThreadPool pool_{2};
  ops::Backend backend_;
  Problem problem_;
  SecondMoment moment_;
};

TEST_F(RoundingTest, ReportsTheErrorsOfTheBytesItGives) {
  RoundingInput in = input(TensorType::q4_k);
  in.heldout = {40, 256, problem_.inputs.data()};
  const HeldOut seen = {problem_.n_inputs, 256, problem_.inputs.data()};
  Rounder rounder(backend_, {});
  for (const RoundingMethod method : {RoundingMethod::search, RoundingMethod::gptq, RoundingMethod::gptq_cd}) {
    RoundingSettings settings;
    settings.method = method;
    settings.damps = {0.01};
    const Rounded rounded = rounder.round(in, settings);
    EXPECT_EQ(rounded.method, method);
    EXPECT_EQ(rounded.fallback, "");
    EXPECT_NEAR(rounded.loss.calibration, error_of(rounded, in.type, seen), 0.01 * rounded.loss.calibration);
    EXPECT_NEAR(rounded.loss.heldout, error_of(rounded, in.type, in.heldout), 0.01 * rounded.loss.heldout);
    if (method == RoundingMethod::search) continue;
    EXPECT_LT(rounded.loss.calibration, 0.8 * rounded.search_loss.calibration);
  }
}

TEST_F(RoundingTest, KeepsTheBestAsHeldOutInputsSeeIt) {
  RoundingInput in = input(TensorType::q4_k);
  in.heldout = {problem_.n_inputs, 256, problem_.inputs.data()};
  RoundingSettings best;
  best.method = RoundingMethod::best;
  Rounder rounder(backend_, best);
  const Rounded kept = rounder.round(in);
  EXPECT_EQ(kept.method, RoundingMethod::gptq_cd) << "held-out inputs are those it was calibrated on";
  EXPECT_GT(kept.damp, 0.0);
  for (const RoundingMethod method : {RoundingMethod::search, RoundingMethod::gptq, RoundingMethod::gptq_cd}) {
    RoundingSettings settings;
    settings.method = method;
    EXPECT_LE(kept.loss.heldout, rounder.round(in, settings).loss.heldout);
  }
  // Inputs without any correlation in them: passing errors on can only do harm.
  std::vector<float> white;
  for (size_t t = 0; t < 256; ++t) {
    for (size_t i = 0; i < 256; ++i) white.push_back(i == t ? 1.0f : 0.0f);
  }
  in.heldout = {256, 256, white.data()};
  in.importance = {};
  const Rounded plain = rounder.round(in);
  EXPECT_EQ(plain.method, RoundingMethod::search);
  EXPECT_EQ(plain.fallback, "");
  RoundingSettings asked;
  asked.method = RoundingMethod::gptq;
  EXPECT_NE(rounder.round(in, asked).fallback, "") << "a method that was asked for is not left out silently";
}

TEST_F(RoundingTest, SaysWhyAMethodCouldNotBeUsed) {
  Rounder rounder(backend_, {});
  RoundingInput in = input(TensorType::q4_0);
  const Rounded usual = rounder.round(in);
  EXPECT_EQ(usual.fallback, "");
  in.second_moment = nullptr;
  const Rounded unknown = rounder.round(in);
  EXPECT_EQ(unknown.method, RoundingMethod::search);
  EXPECT_NE(unknown.fallback.find("second moment"), std::string::npos);
  SecondMoment indefinite = moment_;
  indefinite.values[1] = indefinite.values[256] = 1e6f;
  in.second_moment = &indefinite;
  const Rounded refused = rounder.round(in);
  EXPECT_EQ(refused.method, RoundingMethod::search);
  EXPECT_NE(refused.fallback.find("positive definite"), std::string::npos);
  EXPECT_EQ(refused.bytes, unknown.bytes);
}

TEST_F(RoundingTest, DeadChannelsAndTypesWithoutScalesDoNoHarm) {
  for (size_t i = 0; i < 256; ++i) moment_.values[7 * 256 + i] = moment_.values[i * 256 + 7] = 0.0f;
  Rounder rounder(backend_, {});
  const Rounded dead = rounder.round(input(TensorType::q4_k));
  EXPECT_EQ(dead.fallback, "");
  EXPECT_LT(dead.loss.calibration, dead.search_loss.calibration);
  const Rounded half = rounder.round(input(TensorType::f16));
  EXPECT_EQ(half.bytes.size(), problem_.weights.size() * 2);
  EXPECT_EQ(half.fallback, "");
}

TEST_F(RoundingTest, RefusesWhatDoesNotFit) {
  Rounder rounder(backend_, {});
  RoundingInput in = input(TensorType::q4_k);
  const std::vector<float> few(5, 1.0f);
  in.importance = few;
  EXPECT_THROW(rounder.round(in), Error);
  in = input(TensorType::q4_k);
  const SecondMoment small = {2, 2, {1, 0, 0, 1}};
  in.second_moment = &small;
  EXPECT_THROW(rounder.round(in), Error);
  for (const double damp : {0.0, -1.0, 2.0, std::nan("")}) {
    RoundingSettings settings;
    settings.damps = {damp};
    EXPECT_THROW(check_rounding_settings(settings), Error) << damp;
  }
  EXPECT_THROW(rounding_method_from_name("magic"), Error);
  EXPECT_EQ(rounding_method_from_name("gptq_cd"), RoundingMethod::gptq_cd);
}

}  // namespace
}  // namespace thimble
