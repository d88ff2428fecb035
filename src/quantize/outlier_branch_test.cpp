// Choice, budget and making of outlier branches.
#include "quantize/outlier_branch.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/float16.h"

namespace thimble {
namespace {

std::vector<float> noise(int64_t n, uint32_t seed) {
  std::vector<float> out(static_cast<size_t>(n));
  uint32_t state = seed * 2654435761u + 1u;
  for (float& value : out) {
    float sum = 0.0f;  // of uniform numbers: bell-shaped, as weights are
    for (int i = 0; i < 4; ++i) {
      state = state * 1664525u + 1013904223u;
      sum += static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    value = sum;
  }
  return out;
}

constexpr int64_t kOutputs = 24;
constexpr int64_t kInputs = 128;

std::vector<float> round_to(TensorType type, const std::vector<float>& weights, const float* importance) {
  std::vector<float> out(weights.size());
  std::vector<std::byte> blocks(*row_bytes(type, kInputs));
  for (int64_t row = 0; row < kOutputs; ++row) {
    traits(type).encode(weights.data() + row * kInputs, importance, blocks.data(), kInputs);
    traits(type).decode(blocks.data(), out.data() + row * kInputs, kInputs);
  }
  return out;
}

double weighted_error(const std::vector<float>& weights, const std::vector<float>& rounded,
                      const std::vector<float>& mean_square) {
  double sum = 0.0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double difference = static_cast<double>(weights[i]) - static_cast<double>(rounded[i]);
    sum += static_cast<double>(mean_square[i % kInputs]) * difference * difference;
  }
  return sum;
}

// Error of the tensor with its branch of these channels.
double branched_error(TensorType type, const std::vector<float>& weights, const std::vector<float>& mean_square,
                      const std::vector<int32_t>& index) {
  std::vector<float> cleared = weights;
  std::vector<float> importance = mean_square;
  clear_channels(index, cleared.data(), kOutputs, kInputs);
  clear_importance(index, importance);
  std::vector<float> sum = round_to(type, cleared, importance.data());
  const OutlierBranch branch = make_outliers(index, {weights.data(), sum.data(), kOutputs, kInputs, type});
  for (int64_t row = 0; row < kOutputs; ++row) {
    for (int64_t j = 0; j < branch.k(); ++j) {
      const auto channel = static_cast<size_t>(branch.index[static_cast<size_t>(j)]);
      sum[static_cast<size_t>(row * kInputs) + channel] +=
          f16_to_f32(branch.values[static_cast<size_t>(row * branch.k() + j)]);
    }
  }
  return weighted_error(weights, sum, mean_square);
}

std::vector<int32_t> choose(TensorType type, const std::vector<float>& weights, const std::vector<float>& mean_square,
                            int64_t k) {
  const std::vector<float> rounded = round_to(type, weights, mean_square.data());
  return worst_channels(outlier_gains({weights.data(), rounded.data(), kOutputs, kInputs, type}, mean_square), k);
}

TEST(OutlierBranch, PlantedChannelsAreFoundAndLowerTheError) {
  std::vector<float> weights = noise(kOutputs * kInputs, 1);
  const std::vector<float> flat(kInputs, 1.0f);
  const std::vector<int32_t> planted = {7, 40, 99};
  for (int64_t row = 0; row < kOutputs; ++row) {
    for (const int32_t channel : planted) weights[static_cast<size_t>(row * kInputs + channel)] *= 20.0f;
  }
  for (const TensorType type : {TensorType::q4_0, TensorType::q4_1, TensorType::i4_g64, TensorType::i4_g128,
                                TensorType::i5_g64, TensorType::iq4_nl}) {
    EXPECT_EQ(choose(type, weights, flat, 3), planted) << traits(type).name;
    const double plain = weighted_error(weights, round_to(type, weights, flat.data()), flat);
    EXPECT_LT(branched_error(type, weights, flat, planted), 0.1 * plain) << traits(type).name;
    EXPECT_NEAR(branched_error(type, weights, flat, {}), plain, 1e-6 * plain) << "k = 0 is the tensor as it was";
  }
}

// The expected gains order channels much as measuring each would: the best four by them do nearly as well as the best
// four by trying every channel alone.
TEST(OutlierBranch, ExpectedGainsFollowMeasuredOnes) {
  std::vector<float> weights = noise(kOutputs * kInputs, 2);
  std::vector<float> mean_square(kInputs);
  for (size_t i = 0; i < mean_square.size(); ++i) mean_square[i] = i % 10 == 3 ? 30.0f : 1.0f;
  for (int64_t row = 0; row < kOutputs; ++row) {
    for (int64_t i = 0; i < kInputs; i += 17) weights[static_cast<size_t>(row * kInputs + i)] *= 4.0f;
  }
  for (const TensorType type : {TensorType::q4_0, TensorType::i4_g64, TensorType::i4_g128}) {
    const double plain = branched_error(type, weights, mean_square, {});
    std::vector<double> measured;
    for (int32_t channel = 0; channel < kInputs; ++channel) {
      measured.push_back(plain - branched_error(type, weights, mean_square, {channel}));
    }
    const double ideal = branched_error(type, weights, mean_square, worst_channels(measured, 4));
    const double chosen = branched_error(type, weights, mean_square, choose(type, weights, mean_square, 4));
    EXPECT_LT(chosen, plain);
    EXPECT_GE(plain - chosen, 0.8 * (plain - ideal)) << traits(type).name;
  }
}

TEST(OutlierBranch, WorstChannelsAreAscendingAndTheFirstOfEqualOnes) {
  const std::vector<double> gains = {1, 5, 5, 0, 5, 9};
  EXPECT_EQ(worst_channels(gains, 0), std::vector<int32_t>());
  EXPECT_EQ(worst_channels(gains, 3), (std::vector<int32_t>{1, 2, 5}));
  EXPECT_EQ(worst_channels(gains, 100), (std::vector<int32_t>{0, 1, 2, 3, 4, 5}));
}

TEST(OutlierBranch, BudgetsAreWhatFilesTake) {
  for (const int64_t k : {1, 7, 8, 9, 64}) {
    uint64_t bytes = 0;
    for (const GgufTensorPlan& tensor : outlier_tensors("w", k, 100))
      bytes += (gguf_tensor_bytes(tensor) + 31) / 32 * 32;
    EXPECT_EQ(outlier_bytes(k, 100, 64), bytes) << k;
  }
  EXPECT_EQ(outlier_bytes(0, 100, 64), 0u);
  for (const double bits : {0.0, 0.01, 0.05, 0.3, 4.0, 17.0, 1000.0}) {
    const int64_t k = outliers_in_budget(bits, 576, 1536);
    EXPECT_LE(static_cast<double>(outlier_bytes(k, 576, 1536)), bits / 8 * 576 * 1536);
    if (k < 1536) {
      EXPECT_GT(static_cast<double>(outlier_bytes(k + 1, 576, 1536)), bits / 8 * 576 * 1536);
    }
  }
  EXPECT_EQ(outliers_in_budget(0.05, 576, 1536), 4);  // 16 bits for each of 4 / 1536 weights, and the index
  EXPECT_THROW(outliers_in_budget(-1.0, 10, 10), Error);
  EXPECT_THROW(outliers_in_budget(std::nan(""), 10, 10), Error);
  EXPECT_THROW(outlier_bytes(11, 10, 10), Error);
  EXPECT_THROW(outlier_bytes(INT64_MAX, INT64_MAX, INT64_MAX), Error);
}

TEST(OutlierBranch, ClearingTouchesOnlyTheChannels) {
  const std::vector<int32_t> index = {1, 3};
  std::vector<float> weights = {1, 2, 3, 4, 5, 6, 7, 8};
  clear_channels(index, weights.data(), 2, 4);
  EXPECT_EQ(weights, (std::vector<float>{1, 0, 3, 0, 5, 0, 7, 0}));
  std::vector<float> importance = {1, 2, 3, 4};
  clear_importance(index, importance);
  EXPECT_EQ(importance, (std::vector<float>{1, 0, 3, 0}));
  std::vector<float> h(16, 1.0f);
  clear_second_moment(index, h.data(), 4);
  EXPECT_EQ(h, (std::vector<float>{1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0}));
}

TEST(OutlierBranch, DifferencesBeyondHalfPrecisionAreClamped) {
  const float weights[] = {1e6f, -1e6f};
  const float rounded[] = {0.0f, 0.0f};
  const OutlierBranch branch = make_outliers(std::vector<int32_t>{0}, {weights, rounded, 2, 1, TensorType::q4_0});
  EXPECT_EQ(f16_to_f32(branch.values[0]), 65504.0f);
  EXPECT_EQ(f16_to_f32(branch.values[1]), -65504.0f);
}

}  // namespace
}  // namespace thimble
