// Sampling: each filter against a distribution worked out by hand, greedy ties, NaN, and the generator against values
// of its reference implementation.
#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"

namespace thimble {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

SamplingParams unfiltered(float temperature = 1.0f) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = 0;
  params.top_p = 1.0f;
  params.min_p = 0.0f;
  return params;
}

// Logits whose probabilities at temperature 1 are 0.4, 0.3, 0.2, 0.1 for ids 3, 1, 0, 2.
const std::vector<float> kLogits = {std::log(0.2f), std::log(0.3f), std::log(0.1f), std::log(0.4f)};

std::map<int32_t, int> draw_many(const SamplingParams& params, int n, const std::vector<float>& logits = kLogits,
                                 const std::vector<int32_t>& recent = {}) {
  Sampler sampler(params, static_cast<int64_t>(logits.size()));
  std::map<int32_t, int> counts;
  for (int i = 0; i < n; ++i) ++counts[sampler.sample(logits, recent)];
  return counts;
}

// 20,000 draws: the standard deviation of a share of 0.4 is 0.0035; 0.02 is more than five of them.
void expect_shares(const std::map<int32_t, int>& counts, const std::map<int32_t, double>& shares) {
  for (const auto& [id, count] : counts) {
    ASSERT_TRUE(shares.contains(id)) << id;
    EXPECT_NEAR(count / 20000.0, shares.at(id), 0.02) << id;
  }
  EXPECT_EQ(counts.size(), shares.size());
}

TEST(Sampler, ArgmaxTakesTheLowestOfTiesAndNeverNan) {
  EXPECT_EQ(argmax(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(argmax(std::vector<float>{kNan, 1, kNan, 2}), 3);
  EXPECT_EQ(argmax(std::vector<float>{kNan, -kInf, kNan}), 1);
  EXPECT_EQ(argmax(std::vector<float>{-kInf, -kInf}), 0);
  EXPECT_EQ(argmax(std::vector<float>{kNan, kNan}), 0);
  EXPECT_EQ(argmax(std::vector<float>{1, kInf, 2}), 1);
}

TEST(Sampler, TemperatureZeroIsGreedy) {
  EXPECT_EQ(draw_many({}, 50), (std::map<int32_t, int>{{3, 50}}));
}

TEST(Sampler, DrawsFromTheDistribution) {
  expect_shares(draw_many(unfiltered(), 20000), {{3, 0.4}, {1, 0.3}, {0, 0.2}, {2, 0.1}});
}

TEST(Sampler, TemperatureSharpens) {
  // At temperature 1/2 probabilities are squared: 16, 9, 4, 1 parts of 30.
  expect_shares(draw_many(unfiltered(0.5f), 20000), {{3, 16 / 30.}, {1, 9 / 30.}, {0, 4 / 30.}, {2, 1 / 30.}});
  EXPECT_EQ(draw_many(unfiltered(1e-30f), 50), (std::map<int32_t, int>{{3, 50}}));
}

TEST(Sampler, TopKKeepsTheMostLikely) {
  SamplingParams params = unfiltered();
  params.top_k = 2;
  expect_shares(draw_many(params, 20000), {{3, 4 / 7.}, {1, 3 / 7.}});
  params.top_k = 1;
  EXPECT_EQ(draw_many(params, 50), (std::map<int32_t, int>{{3, 50}}));
  params.top_k = 100;  // more than there are: all
  expect_shares(draw_many(params, 20000), {{3, 0.4}, {1, 0.3}, {0, 0.2}, {2, 0.1}});
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  SamplingParams params = unfiltered();
  params.top_p = 0.65f;  // 0.4 + 0.3 reaches it
  expect_shares(draw_many(params, 20000), {{3, 4 / 7.}, {1, 3 / 7.}});
  params.top_p = 0.0f;
  EXPECT_EQ(draw_many(params, 50), (std::map<int32_t, int>{{3, 50}}));
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  SamplingParams params = unfiltered();
  params.min_p = 0.4f;  // of 0.4: 0.16
  expect_shares(draw_many(params, 20000), {{3, 4 / 9.}, {1, 3 / 9.}, {0, 2 / 9.}});
  params.min_p = 1.0f;
  EXPECT_EQ(draw_many(params, 50), (std::map<int32_t, int>{{3, 50}}));
}

TEST(Sampler, RepetitionPenaltyCountsATokenOnce) {
  SamplingParams params;  // greedy
  params.repetition_penalty = 2.0f;
  const std::vector<float> logits = {3.0f, 5.0f, -1.0f, 2.0f};
  // 5 / 2 = 2.5 < 3; twice in the window it is still 2.5 > 2.
  EXPECT_EQ(draw_many(params, 1, logits, {1}), (std::map<int32_t, int>{{0, 1}}));
  EXPECT_EQ(draw_many(params, 1, logits, {1, 1, 0}), (std::map<int32_t, int>{{1, 1}}));
  // Negative logits are multiplied: -1 * 2 < -1.5.
  EXPECT_EQ(draw_many(params, 1, {-1.0f, -1.5f}, {0}), (std::map<int32_t, int>{{1, 1}}));
  params.repetition_window = 1;
  EXPECT_EQ(draw_many(params, 1, logits, {1, 3}), (std::map<int32_t, int>{{1, 1}}));
  params.repetition_window = 0;
  EXPECT_EQ(draw_many(params, 1, logits, {1}), (std::map<int32_t, int>{{1, 1}}));
}

TEST(Sampler, NanNeverWins) {
  const auto counts = draw_many(unfiltered(), 2000, {kNan, 0.0f, kNan, 0.1f, -kInf});
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.contains(1) && counts.contains(3));
  EXPECT_EQ(draw_many(unfiltered(), 5, {kNan, kNan}), (std::map<int32_t, int>{{0, 5}}));
  EXPECT_EQ(draw_many(unfiltered(), 5, {0.0f, kInf, 1.0f}), (std::map<int32_t, int>{{1, 5}}));
  EXPECT_EQ(draw_many(unfiltered(), 5, {-kInf, -kInf}), (std::map<int32_t, int>{{0, 5}}));
}

TEST(Sampler, SeedFixesTheSequence) {
  // Two equally likely tokens show one bit of each draw. xoshiro256** seeded by splitmix64(42) in Python integers, from
  // the authors' published C code: the first numbers are 0x15780b2e0c2ec716, 0x6104d9866d113a7e, 0xae17533239e499a1,
  // 0xecb8ad4703b360a1, 0xfde6dc7fe2ec5e64, 0xc50da53101795238: two below one half, then four above.
  SamplingParams params = unfiltered();
  params.seed = 42;
  Sampler sampler(params, 2);
  std::vector<int32_t> drawn;
  for (int i = 0; i < 6; ++i) drawn.push_back(sampler.sample(std::vector<float>{0.0f, 0.0f}, {}));
  EXPECT_EQ(drawn, (std::vector<int32_t>{0, 0, 1, 1, 1, 1}));
}

TEST(Sampler, ParametersOutOfRangeAreNamed) {
  const auto expect_named = [](const char* name, auto&& change) {
    SamplingParams params;
    change(params);
    try {
      validate(params);
      ADD_FAILURE() << name;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
    }
  };
  for (const float bad : {kNan, kInf, -kInf, -0.1f, 1000.0f}) {
    expect_named("temperature", [&](SamplingParams& p) { p.temperature = bad; });
    expect_named("top_p", [&](SamplingParams& p) { p.top_p = bad; });
    expect_named("min_p", [&](SamplingParams& p) { p.min_p = bad; });
    expect_named("repetition_penalty", [&](SamplingParams& p) { p.repetition_penalty = bad; });
  }
  expect_named("top_k", [](SamplingParams& p) { p.top_k = -1; });
  expect_named("repetition_window", [](SamplingParams& p) { p.repetition_window = -1; });
  expect_named("repetition_penalty", [](SamplingParams& p) { p.repetition_penalty = 0.0f; });
}

}  // namespace
}  // namespace thimble
