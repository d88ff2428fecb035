// The truncated divergence against the full one: a lower bound, short of it by exactly the divergence within the tail.
#include "eval/top_log_probs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "model/logit_divergence.h"

namespace thimble {
namespace {

std::vector<float> random_logits(size_t n, float spread, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> out(n);
  for (float& x : out) x = normal(random);
  return out;
}

std::vector<double> probabilities(std::span<const float> logits) {
  double sum = 0;
  std::vector<double> out;
  for (const float l : logits) sum += out.emplace_back(std::exp(static_cast<double>(l)));
  for (double& p : out) p /= sum;
  return out;
}

struct Taken {
  Taken(std::span<const float> logits, size_t k) { tail = top.take(logits, k, ids, log_p); }
  TopRow row() const { return {ids, log_p, tail}; }
  TopLogProbs top;
  std::vector<TokenId> ids;
  std::vector<float> log_p;
  float tail = 0;
};

TEST(TopLogProbs, TakesTheMostProbableAndTheMassOfTheRest) {
  const std::vector<float> logits = {1, 3, 2, 3, 0};
  const Taken t(logits, 3);
  EXPECT_EQ(t.ids, (std::vector<TokenId>{1, 3, 2}));
  const auto p = probabilities(logits);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(std::exp(t.log_p[i]), p[static_cast<size_t>(t.ids[i])], 1e-6);
  EXPECT_NEAR(t.tail, p[0] + p[4], 1e-6);
}

TEST(TopLogProbs, WithoutATailItIsTheFullDivergence) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    const auto a = random_logits(50, 2, seed), b = random_logits(50, 2, seed + 100);
    Taken t(a, kTopTokens);
    EXPECT_EQ(t.ids.size(), 50u);
    EXPECT_EQ(t.tail, 0);
    EXPECT_NEAR(t.top.divergence(t.row(), b), kl_divergence(a, b), 1e-5);
  }
}

TEST(TopLogProbs, ItIsShortOfTheFullDivergenceByTheDivergenceWithinTheTail) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    // From nearly all mass in the 64 to nearly none.
    const auto a = random_logits(2000, static_cast<float>(seed) / 3, seed);
    auto b = a;
    const auto noise = random_logits(2000, 0.5f, seed + 100);
    for (size_t i = 0; i < b.size(); ++i) b[i] += noise[i];
    Taken t(a, kTopTokens);
    const double truncated = t.top.divergence(t.row(), b);
    const double full = kl_divergence(a, b);
    EXPECT_LE(truncated, full + 1e-6);
    std::vector<float> rest_a = a, rest_b = b;
    for (const TokenId id : t.ids) rest_a[static_cast<size_t>(id)] = rest_b[static_cast<size_t>(id)] = -1e9f;
    const double within = kl_divergence(rest_a, rest_b);
    EXPECT_NEAR(truncated + static_cast<double>(t.tail) * within, full, 1e-5 * (1 + full)) << seed;
  }
}

TEST(TopLogProbs, AModelDoesNotDifferFromItselfAtAll) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    const auto a = random_logits(3000, static_cast<float>(seed) / 4, seed);
    Taken t(a, kTopTokens);
    EXPECT_EQ(t.top.divergence(t.row(), a), 0.0);
  }
}

TEST(TopLogProbs, ATailThatVanishesStaysFinite) {
  const std::vector<float> a(100, 0.0f);
  std::vector<float> b(100, -1000.0f);
  for (size_t i = 0; i < kTopTokens; ++i) b[i] = 1000.0f;
  Taken t(a, kTopTokens);
  const double d = t.top.divergence(t.row(), b);
  EXPECT_TRUE(std::isfinite(d));
  EXPECT_GT(d, 10);
}

}  // namespace
}  // namespace thimble
