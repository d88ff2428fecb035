// Second-order rounding against exact references: GPTQ as its paper states it (inverse and Cholesky in doubles), plain
// rounding where inputs are uncorrelated.
#include "quantize/second_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "quantize/coordinate_descent.h"
#include "quantize/strip_test_problem.h"

namespace thimble {
namespace {

TEST(SecondOrder, WithoutCorrelationGptqIsPlainRounding) {
  ThreadPool pool(2);
  const ops::Backend backend = ops::make_backend(pool, kernels::Isa::scalar);
  Problem p = random_problem(5, 512, 1);
  for (int64_t i = 0; i < p.n_in; ++i) {
    for (int64_t j = 0; j < p.n_in; ++j) {
      if (i != j) p.h[static_cast<size_t>(i * p.n_in + j)] = 0.0f;
    }
  }
  const auto factor = factor_second_moment(p.h.data(), p.n_in, 0.01, backend);
  ASSERT_TRUE(factor.has_value());
  for (const TensorType type : {TensorType::q4_0, TensorType::q4_k, TensorType::q6_k, TensorType::iq4_xs}) {
    RowStrip plain = strip_of(p, type);
    RowStrip gptq = strip_of(p, type);
    round_nearest(backend, p.importance(), plain);
    round_gptq(backend, *factor, p.importance(), gptq);
    EXPECT_EQ(plain.codes, gptq.codes) << traits(type).name;
    EXPECT_EQ(exact_loss(p, plain), exact_loss(p, gptq)) << traits(type).name;
    const std::vector<uint8_t> before = plain.codes;
    EXPECT_EQ(CoordinateDescent(backend, p.h.data(), 0.0, plain).sweep(), 0) << traits(type).name;
    EXPECT_EQ(plain.codes, before);
  }
}

// Frantar et al. 2210.17323, algorithm 1, with the scales of each block searched at its first column: H^-1 = T^T T, T
// upper; err = (w_j - q_j) / T_jj; W_:k -= err T_jk. All in doubles. Counts the codes that differ from the strip's.
struct Differences {
  int codes = 0;
  int blocks = 0;  // whose scales are not equally good for the reference's weights
};

// Of a block that begins at `column`, rounded to nearest.
double weighted_error(const Problem& p, const GridTraits& grid, const BlockGrid& block, const float* w, size_t column) {
  double sum = 0.0;
  for (int e = 0; e < grid.block_elems; ++e) {
    const double error = static_cast<double>(grid_value(grid, block, e, nearest(grid, block, e, w[e])) - w[e]);
    sum += error * error * static_cast<double>(p.diagonal[column + static_cast<size_t>(e)]);
  }
  return sum;
}

Differences compare_with_paper(const Problem& p, const RowStrip& strip, double damp) {
  const GridTraits& grid = *strip.grid;
  const auto n = static_cast<size_t>(p.n_in);
  std::vector<double> a(p.h.begin(), p.h.end());
  double mean = 0.0;
  for (size_t i = 0; i < n; ++i) mean += a[i * n + i] / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) a[i * n + i] += damp * mean;
  const std::vector<double> upper = upper_factor(inverse(a, n), n);
  Differences out;
  for (int64_t r = 0; r < p.n_out; ++r) {
    std::vector<double> w(p.weights.begin() + r * p.n_in, p.weights.begin() + (r + 1) * p.n_in);
    for (size_t j = 0; j < n; ++j) {
      const auto size = static_cast<size_t>(grid.block_elems);
      const auto element = static_cast<int>(j % size);
      // Its own scales are compared; codes are taken with the strip's, or one unit in the last place of a scale would
      // change every code after it.
      const BlockGrid& block = strip.blocks[static_cast<size_t>(r * strip.n_blocks()) + j / size];
      if (element == 0) {
        const std::vector<float> now(w.begin() + static_cast<int64_t>(j), w.end());
        BlockGrid own;
        grid.fit(now.data(), p.importance().data() + j, &own);
        const double difference =
            weighted_error(p, grid, block, now.data(), j) / weighted_error(p, grid, own, now.data(), j);
        // Two searches of weights that differ in the last bits may end on different scales of nearly equal merit; merit
        // also favors large elements, which this error does not.
        if (std::fabs(difference - 1.0) > 0.1) ++out.blocks;
      }
      const uint8_t code = nearest(grid, block, element, static_cast<float>(w[j]));
      const uint8_t taken = strip.codes[static_cast<size_t>(r) * n + j];
      if (code != taken) ++out.codes;
      const double scaled = (w[j] - static_cast<double>(grid_value(grid, block, element, taken))) / upper[j * n + j];
      for (size_t k = j; k < n; ++k) w[k] -= scaled * upper[j * n + k];
    }
  }
  return out;
}

TEST(SecondOrder, GptqIsThatOfThePaper) {
  ThreadPool pool(2);
  const ops::Backend backend = ops::make_backend(pool, kernels::Isa::scalar);
  struct Case {
    TensorType type;
    int64_t n_in;
  };
  // Blocks of 32 within a panel, a panel that ends early, a block as long as a panel.
  for (const Case& c : {Case{TensorType::q4_0, 64}, Case{TensorType::q4_1, 288}, Case{TensorType::q4_k, 512}}) {
    const Problem p = random_problem(4, c.n_in, 2);
    const auto factor = factor_second_moment(p.h.data(), p.n_in, 0.01, backend);
    ASSERT_TRUE(factor.has_value());
    RowStrip strip = strip_of(p, c.type);
    round_gptq(backend, *factor, p.importance(), strip);
    const Differences differences = compare_with_paper(p, strip, 0.01);
    // Weights half way between two codes may fall to either side.
    EXPECT_LE(differences.codes, c.n_in / 64) << traits(c.type).name << " x " << c.n_in;
    EXPECT_EQ(differences.blocks, 0) << traits(c.type).name << " x " << c.n_in;
    RowStrip plain = strip_of(p, c.type);
    round_nearest(backend, p.importance(), plain);
    EXPECT_LT(exact_loss(p, strip), 0.7 * exact_loss(p, plain)) << traits(c.type).name;
  }
}

TEST(SecondOrder, StoresWhatItsErrorsSay) {
  ThreadPool pool(2);
  const ops::Backend backend = ops::make_backend(pool, kernels::Isa::scalar);
  const Problem p = random_problem(3, 512, 4);
  const auto factor = factor_second_moment(p.h.data(), p.n_in, 0.03, backend);
  ASSERT_TRUE(factor.has_value());
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized) continue;
    RowStrip strip = strip_of(p, type.type);
    round_gptq(backend, *factor, p.importance(), strip);
    CoordinateDescent(backend, p.h.data(), 0.0, strip).sweep();
    const size_t bytes = *row_bytes(type.type, 512);
    std::vector<std::byte> stored(3 * bytes);
    store_strip(backend, strip, stored.data());
    std::vector<float> decoded(p.weights.size());
    for (size_t r = 0; r < 3; ++r) type.decode(stored.data() + r * bytes, decoded.data() + r * 512, 512);
    for (size_t i = 0; i < decoded.size(); ++i) {
      // Errors are sums of steps, so they differ from the difference by roundings of the values.
      EXPECT_NEAR(strip.error[i], decoded[i] - p.weights[i], 1e-6f) << type.name << " " << i;
    }
  }
}

TEST(SecondOrder, RowsDoNotDependOnStripsThreadsOrInstructionSets) {
  const Problem p = random_problem(20, 512, 5);
  const auto run = [&](int n_threads, int64_t strip_rows, kernels::Isa isa) {
    ThreadPool pool(n_threads);
    const ops::Backend backend = ops::make_backend(pool, isa);
    const auto factor = factor_second_moment(p.h.data(), p.n_in, 0.01, backend);
    std::vector<uint8_t> codes;
    for (int64_t r = 0; r < p.n_out; r += strip_rows) {
      const int64_t rows = std::min(strip_rows, p.n_out - r);
      RowStrip strip(*find_grid(TensorType::q4_k), p.weights.data() + r * p.n_in, rows, p.n_in);
      round_gptq(backend, *factor, p.importance(), strip);
      CoordinateDescent(backend, p.h.data(), 0.0, strip).sweep();
      codes.insert(codes.end(), strip.codes.begin(), strip.codes.end());
    }
    return codes;
  };
  const std::vector<uint8_t> reference = run(1, 20, kernels::Isa::scalar);
  EXPECT_EQ(run(3, 20, kernels::Isa::scalar), reference);
  EXPECT_EQ(run(2, 7, kernels::Isa::scalar), reference);
  EXPECT_EQ(run(2, 9, kernels::best_isa(host_cpu())), reference);
}

TEST(SecondOrder, LossesAreThoseOfTheirFormulas) {
  ThreadPool pool(1);
  const ops::Backend backend = ops::make_backend(pool, kernels::Isa::scalar);
  for (const int64_t n_in : {64, 256, 256 + 256 + 32}) {
    const Problem p = random_problem(3, n_in, 6);
    RowStrip strip = strip_of(p, TensorType::q4_0);
    round_nearest(backend, {}, strip);
    const double expected = exact_loss(p, strip);
    EXPECT_NEAR(quadratic_loss(backend, p.h.data(), strip.error.data(), 3, n_in), expected, 1e-5 * expected) << n_in;
  }
  const Problem p = random_problem(3, 64, 6);
  RowStrip strip = strip_of(p, TensorType::q4_0);
  round_nearest(backend, {}, strip);
  const double expected = exact_loss(p, strip);
  // H is the mean of x x^T over the problem's inputs, so the mean output error is the same number.
  const double outputs = output_loss(backend, p.inputs.data(), p.n_inputs, strip.error.data(), 3, 64);
  EXPECT_NEAR(outputs / static_cast<double>(p.n_inputs), expected, 1e-4 * expected);
  EXPECT_EQ(output_loss(backend, nullptr, 0, strip.error.data(), 3, 64), 0.0);
}

}  // namespace
}  // namespace thimble
