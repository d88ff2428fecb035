// Coordinate descent against exact references: an exhaustive search of all codes on a few columns, the slopes of every
// code where it ends, a descent that computes all slopes at every sweep.
#include "quantize/coordinate_descent.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "quantize/strip_test_problem.h"

namespace thimble {
namespace {

// Four correlated columns and 28 independent ones, whose best codes are the nearest: 16^4 candidates are all there are.
TEST(CoordinateDescent, LiesBetweenTheOptimumAndPlainRounding) {
  ThreadPool pool(1);
  const ops::Backend backend = ops::make_backend(pool, kernels::Isa::scalar);
  constexpr int kFree = 4;
  const GridTraits& type = *find_grid(TensorType::q4_0);
  int optimal = 0;
  for (uint32_t seed = 0; seed < 10; ++seed) {
    Problem p = random_problem(1, 32, 100 + seed);
    for (int64_t i = 0; i < 32; ++i) {
      for (int64_t j = 0; j < 32; ++j) {
        if (i != j && (i >= kFree || j >= kFree)) p.h[static_cast<size_t>(i * 32 + j)] = 0.0f;
      }
    }
    RowStrip plain = strip_of(p, type.type);
    round_nearest(backend, p.importance(), plain);
    const double plain_loss = exact_loss(p, plain);
    RowStrip rounded = strip_of(p, type.type);
    const auto factor = factor_second_moment(p.h.data(), 32, 0.0, backend);
    ASSERT_TRUE(factor.has_value());
    round_gptq(backend, *factor, p.importance(), rounded);
    CoordinateDescent descent(backend, p.h.data(), 0.0, rounded);
    while (descent.sweep() > 0) {
    }
    const double loss = exact_loss(p, rounded);
    double best = std::numeric_limits<double>::max();
    RowStrip trial = strip_of(p, type.type);
    round_nearest(backend, p.importance(), trial);  // the same scales: GPTQ starts from the same weights
    for (int code = 0; code < 1 << (4 * kFree); ++code) {
      for (int j = 0; j < kFree; ++j) {
        const auto digit = static_cast<uint8_t>((code >> (4 * j)) & 15);
        trial.error[static_cast<size_t>(j)] =
            grid_value(type, trial.blocks[0], j, digit) - p.weights[static_cast<size_t>(j)];
      }
      best = std::min(best, exact_loss_of_first(p, trial.error.data(), kFree));
    }
    const double rest = exact_loss(p, plain) - exact_loss_of_first(p, plain.error.data(), kFree);
    EXPECT_GE(loss, (best + rest) * (1.0 - 1e-6)) << seed;
    EXPECT_LE(loss, plain_loss * (1.0 + 1e-6)) << seed;
    if (loss <= (best + rest) * (1.0 + 1e-6)) ++optimal;
  }
  EXPECT_GE(optimal, 5) << "a search of neighbours finds the optimum of so few columns most of the time";
}

TEST(CoordinateDescent, NeverRaisesTheLossAndEndsWhereNoCodeIsBetter) {
  ThreadPool pool(2);
  const ops::Backend backend = ops::make_backend(pool, kernels::Isa::scalar);
  const Problem p = random_problem(3, 256 + 32, 3);
  for (const TensorType type : {TensorType::q4_0, TensorType::iq4_nl, TensorType::q5_1}) {
    RowStrip strip = strip_of(p, type);
    round_nearest(backend, p.importance(), strip);
    double loss = exact_loss(p, strip);
    const double first = loss;
    int sweeps = 0;
    CoordinateDescent descent(backend, p.h.data(), 0.0, strip);
    while (descent.sweep() > 0) {
      const double next = exact_loss(p, strip);
      EXPECT_NEAR(descent.loss(), next, 1e-5 * next) << traits(type).name;
      EXPECT_NEAR(descent.first_loss(), first, 1e-5 * first) << traits(type).name;
      EXPECT_LE(next, loss * (1.0 + 1e-7)) << traits(type).name;
      loss = next;
      ASSERT_LT(++sweeps, 200);
    }
    EXPECT_LT(loss, 0.9 * first) << traits(type).name;
    const GridTraits& grid = *strip.grid;
    for (int64_t r = 0; r < p.n_out; ++r) {
      const float* const e = strip.error.data() + r * p.n_in;
      for (int64_t c = 0; c < p.n_in; ++c) {
        double slope = 0.0;
        for (int64_t j = 0; j < p.n_in; ++j) {
          slope += static_cast<double>(p.h[static_cast<size_t>(c * p.n_in + j)]) * static_cast<double>(e[j]);
        }
        const BlockGrid& block = strip.blocks[static_cast<size_t>(r * strip.n_blocks() + c / 32)];
        const int element = static_cast<int>(c % 32);
        const float value = grid_value(grid, block, element, strip.codes[static_cast<size_t>(r * p.n_in + c)]);
        for (int code = 0; code < grid.n_codes; ++code) {
          const double step = static_cast<double>(grid_value(grid, block, element, static_cast<uint8_t>(code)) - value);
          const double gain =
              step * (2.0 * slope + step * static_cast<double>(p.h[static_cast<size_t>(c * p.n_in + c)]));
          EXPECT_GE(gain, -1e-6 * loss) << traits(type).name << " row " << r << " column " << c << " code " << code;
        }
      }
    }
  }
}

// A sweep that begins anew computes all slopes; one that goes on has followed the changes, panel by panel.
TEST(CoordinateDescent, ThatGoesOnIsAsGoodAsOneThatBeginsAnew) {
  ThreadPool pool(3);
  const ops::Backend backend = ops::make_backend(pool, kernels::best_isa(host_cpu()));
  const Problem p = random_problem(40, 3 * 256 + 64, 8);
  const auto run = [&](double ridge, bool anew) {
    RowStrip strip = strip_of(p, TensorType::iq4_nl);
    round_nearest(backend, p.importance(), strip);
    CoordinateDescent descent(backend, p.h.data(), ridge, strip);
    for (int sweep = 0; sweep < 5; ++sweep) {
      EXPECT_GT(anew ? CoordinateDescent(backend, p.h.data(), ridge, strip).sweep() : descent.sweep(), 0);
    }
    return strip;
  };
  for (const double ridge : {0.0, 0.1}) {
    const RowStrip on = run(ridge, false), anew = run(ridge, true);
    int64_t n_other = 0;
    for (size_t i = 0; i < on.codes.size(); ++i) n_other += on.codes[i] != anew.codes[i] ? 1 : 0;
    // Slopes differ by roundings, which decide where two codes are all but equally good.
    EXPECT_LE(n_other, static_cast<int64_t>(on.codes.size()) / 1000) << ridge;
    EXPECT_NEAR(exact_loss(p, on), exact_loss(p, anew), 1e-4 * exact_loss(p, anew)) << ridge;
  }
}

TEST(CoordinateDescent, LossBeforeTheFirstSweepIsThatOfTheStrip) {
  ThreadPool pool(2);
  const ops::Backend backend = ops::make_backend(pool, kernels::Isa::scalar);
  const Problem p = random_problem(5, 256 + 32, 9);
  RowStrip strip = strip_of(p, TensorType::q4_0);
  round_nearest(backend, p.importance(), strip);
  const double expected = exact_loss(p, strip);
  CoordinateDescent descent(backend, p.h.data(), 0.0, strip);
  EXPECT_NEAR(descent.loss(), expected, 1e-5 * expected);
  EXPECT_GT(descent.sweep(), 0);
  EXPECT_NEAR(descent.loss(), exact_loss(p, strip), 1e-5 * expected);
  EXPECT_NEAR(descent.first_loss(), expected, 1e-5 * expected);
}

}  // namespace
}  // namespace thimble
