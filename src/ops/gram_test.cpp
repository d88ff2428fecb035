// Gram matrices and transposes against plain loops in double precision; the same bits whatever the threads and the ISA.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "ops/ops.h"

namespace thimble::ops {
namespace {

std::vector<float> random_rows(int64_t n_rows, int64_t n) {
  std::mt19937 random(7);
  std::vector<float> x(static_cast<size_t>(n_rows * n));
  for (float& v : x) v = static_cast<float>(static_cast<int32_t>(random())) * 0x1p-31f;
  return x;
}

std::vector<double> gram(ThreadPool& pool, kernels::Isa isa, const std::vector<float>& x, int64_t n_rows, int64_t n) {
  const Backend backend = make_backend(pool, isa);
  std::vector<float> x_t(x.size()), scratch(gram_scratch_floats(backend));
  transpose(backend, x.data(), n_rows, n, x_t.data());
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t c = 0; c < n; ++c)
      EXPECT_EQ(x_t[static_cast<size_t>(c * n_rows + r)], x[static_cast<size_t>(r * n + c)]);
  }
  // Twice: what is there stays in the sum.
  std::vector<double> h(static_cast<size_t>(triangle_size(n)));
  for (int i = 0; i < 2; ++i) add_gram(backend, x_t.data(), n, n_rows, h.data(), scratch.data());
  return h;
}

struct Shape {
  int64_t n_rows, n;
};

TEST(Gram, EqualsPlainSums) {
  ThreadPool one(1), three(3);
  // One column; a tile of 128 x 256 minus, exactly and plus one; several tiles; chunks of 128 tokens and a rest.
  for (const Shape s : {Shape{1, 1}, {5, 7}, {130, 127}, {3, 128}, {129, 129}, {64, 255}, {2, 257}, {33, 600}}) {
    SCOPED_TRACE(testing::Message() << s.n_rows << " rows of " << s.n);
    const std::vector<float> x = random_rows(s.n_rows, s.n);
    const std::vector<double> h = gram(one, kernels::best_isa(host_cpu()), x, s.n_rows, s.n);
    for (int64_t i = 0; i < s.n; ++i) {
      for (int64_t j = i; j < s.n; ++j) {
        double sum = 0, magnitude = 0;
        for (int64_t r = 0; r < s.n_rows; ++r) {
          const double product = static_cast<double>(x[static_cast<size_t>(r * s.n + i)]) *
                                 static_cast<double>(x[static_cast<size_t>(r * s.n + j)]);
          sum += product;
          magnitude += std::abs(product);
        }
        // Each of n_rows float additions is off by at most half an ulp of the running sum, twice.
        const double tolerance = 2.0 * static_cast<double>(s.n_rows) * 0x1p-24 * magnitude;
        ASSERT_NEAR(h[static_cast<size_t>(triangle_row(s.n, i) + j - i)], 2.0 * sum, tolerance) << i << " " << j;
      }
    }
    EXPECT_EQ(h, gram(three, kernels::best_isa(host_cpu()), x, s.n_rows, s.n));
    EXPECT_EQ(h, gram(three, kernels::Isa::scalar, x, s.n_rows, s.n));
  }
}

TEST(Gram, TrianglesAreRowsFromTheDiagonalOn) {
  EXPECT_EQ(triangle_size(4), 10);
  EXPECT_EQ(triangle_row(4, 0), 0);
  EXPECT_EQ(triangle_row(4, 1), 4);
  EXPECT_EQ(triangle_row(4, 2), 7);
  EXPECT_EQ(triangle_row(4, 3), 9);
}

}  // namespace
}  // namespace thimble::ops
