// The factorization against the products it stands for, on sizes around its block.
#include "quantize/linear_algebra.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/random.h"

namespace thimble {
namespace {

ops::Backend scalar(ThreadPool& pool) {
  return ops::make_backend(pool, kernels::Isa::scalar);
}

// X^T X / rows of correlated columns, both triangles; positive definite when rows > n.
std::vector<float> random_moment(int64_t n, int64_t rows, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<double> h(static_cast<size_t>(n * n));
  std::vector<double> x(static_cast<size_t>(n));
  for (int64_t t = 0; t < rows; ++t) {
    double shared = 0.0;
    for (double& value : x) {
      const double fresh = static_cast<double>(generator()) / 4294967296.0 - 0.5;
      shared = 0.6 * shared + fresh;
      value = shared;
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        h[static_cast<size_t>(i * n + j)] += x[static_cast<size_t>(i)] * x[static_cast<size_t>(j)];
      }
    }
  }
  std::vector<float> out(h.size());
  for (size_t i = 0; i < h.size(); ++i) out[i] = static_cast<float>(h[i] / static_cast<double>(rows));
  return out;
}

TEST(Cholesky, GivesBackTheMatrix) {
  ThreadPool pool(2);
  for (const int64_t n : {1, 2, 3, 5, 63, 64, 65, 129}) {
    const std::vector<float> h = random_moment(n, 2 * n + 3, 1);
    std::vector<double> a(h.begin(), h.end());
    ASSERT_TRUE(cholesky_in_place(a.data(), n, scalar(pool))) << n;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double sum = 0.0;
        for (int64_t k = 0; k <= j; ++k) sum += a[static_cast<size_t>(i * n + k)] * a[static_cast<size_t>(j * n + k)];
        EXPECT_NEAR(sum, static_cast<double>(h[static_cast<size_t>(i * n + j)]), 1e-12) << n << ": " << i << "," << j;
      }
    }
  }
}

TEST(Cholesky, RefusesWhatIsNotPositiveDefinite) {
  ThreadPool pool(1);
  std::vector<double> indefinite = {1.0, 0.0, 2.0, 1.0};
  EXPECT_FALSE(cholesky_in_place(indefinite.data(), 2, scalar(pool)));
  std::vector<double> not_a_number = {std::numeric_limits<double>::quiet_NaN()};
  EXPECT_FALSE(cholesky_in_place(not_a_number.data(), 1, scalar(pool)));
  std::vector<double> infinite = {std::numeric_limits<double>::infinity()};
  EXPECT_FALSE(cholesky_in_place(infinite.data(), 1, scalar(pool)));
}

TEST(FeedbackFactor, IsAUnitUpperFactorOfTheDampedMatrix) {
  ThreadPool pool(2);
  constexpr double kDamp = 0.01;
  for (const int64_t n : {1, 7, 70}) {
    const std::vector<float> h = random_moment(n, 3 * n, 2);
    const auto factor = factor_second_moment(h.data(), n, kDamp, scalar(pool));
    ASSERT_TRUE(factor.has_value());
    EXPECT_EQ(factor->damp, kDamp);
    double mean = 0.0;
    for (int64_t i = 0; i < n; ++i)
      mean += static_cast<double>(h[static_cast<size_t>(i * n + i)]) / static_cast<double>(n);
    const auto u = [&](int64_t j, int64_t k) { return j == k ? 1.0 : static_cast<double>(factor->row(k)[j]); };
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < i; ++k) EXPECT_EQ(factor->row(k)[i], 0.0f) << "not upper triangular";
      for (int64_t j = i; j < n; ++j) {
        double sum = 0.0;
        for (int64_t k = j; k < n; ++k) sum += u(i, k) * factor->variance[static_cast<size_t>(k)] * u(j, k);
        const double expected = static_cast<double>(h[static_cast<size_t>(i * n + j)]) + (i == j ? kDamp * mean : 0.0);
        EXPECT_NEAR(sum, expected, 1e-6) << i << "," << j;
      }
    }
  }
}

TEST(FeedbackFactor, DoesNotDependOnThreads) {
  const std::vector<float> h = random_moment(150, 160, 3);
  ThreadPool one(1);
  ThreadPool three(3);
  const auto a = factor_second_moment(h.data(), 150, 0.01, scalar(one));
  const auto b = factor_second_moment(h.data(), 150, 0.01, scalar(three));
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->feedback, b->feedback);
  EXPECT_EQ(a->variance, b->variance);
}

TEST(FeedbackFactor, DampsMoreWhereThatIsNeeded) {
  ThreadPool pool(1);
  // Eigenvalues 2.05 and -0.05: 0.01 is not enough, 0.1 is.
  const std::vector<float> h = {1.0f, 1.05f, 1.05f, 1.0f};
  const auto factor = factor_second_moment(h.data(), 2, 0.01, scalar(pool));
  ASSERT_TRUE(factor.has_value());
  EXPECT_NEAR(factor->damp, 0.1, 1e-12);
  // Five samples of twenty columns have no inverse; no damping at all must find its own.
  const std::vector<float> singular = random_moment(20, 5, 4);
  const auto raised = factor_second_moment(singular.data(), 20, 0.0, scalar(pool));
  ASSERT_TRUE(raised.has_value());
  EXPECT_GT(raised->variance[19], 0.0);
}

TEST(FeedbackFactor, GivesUpOnWhatNoDampingCures) {
  ThreadPool pool(1);
  const std::vector<float> zero(4, 0.0f);
  EXPECT_FALSE(factor_second_moment(zero.data(), 2, 0.01, scalar(pool)).has_value());
  const std::vector<float> negative = {1.0f, 0.0f, 0.0f, -3.0f};
  EXPECT_FALSE(factor_second_moment(negative.data(), 2, 0.01, scalar(pool)).has_value());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> broken = {1.0f, nan, nan, 1.0f};
  EXPECT_FALSE(factor_second_moment(broken.data(), 2, 0.01, scalar(pool)).has_value());
}

// Sizes around the blocks of columns, the strips of rows and the pieces of products.
TEST(Cholesky, HasTheSameBitsOnEveryInstructionSetAndNumberOfThreads) {
  for (const int64_t n : {63, 64, 65, 130, 271}) {
    SplitMix64 random(static_cast<uint64_t>(n));
    std::vector<double> a(static_cast<size_t>(n * n));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < i; ++j) a[static_cast<size_t>(i * n + j)] = random.gaussian();
      a[static_cast<size_t>(i * n + i)] = 4.0 * static_cast<double>(n);
    }
    ThreadPool one(1), three(3);
    std::vector<double> expected = a;
    ASSERT_TRUE(cholesky_in_place(expected.data(), n, scalar(one)));
    for (const kernels::Isa isa : kernels::supported_isas(host_cpu())) {
      std::vector<double> l = a;
      ASSERT_TRUE(cholesky_in_place(l.data(), n, ops::make_backend(three, isa)));
      EXPECT_EQ(l, expected) << n << " " << kernels::isa_name(isa);
    }
  }
}

}  // namespace
}  // namespace thimble
