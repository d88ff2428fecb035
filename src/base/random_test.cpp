#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace thimble {
namespace {

// First numbers for seed 1234567 of the authors' C program (prng.di.unimi.it/splitmix64.c), as quoted by Rosetta Code's
// "Pseudo-random numbers/Splitmix64".
TEST(SplitMix64, GivesTheSequenceOfItsAuthors) {
  SplitMix64 random(1234567);
  for (const uint64_t expected : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                  4593380528125082431u, 16408922859458223821u}) {
    EXPECT_EQ(random.next(), expected);
  }
}

TEST(SplitMix64, BelowStaysBelowAndReachesEveryNumber) {
  SplitMix64 random(3);
  std::vector<int> seen(7);
  for (int i = 0; i < 7000; ++i) ++seen.at(random.below(7));
  for (const int n : seen) EXPECT_NEAR(n, 1000, 150);  // five standard deviations
}

TEST(SplitMix64, GaussianHasMeanNoughtAndVarianceOne) {
  SplitMix64 random(5);
  constexpr int kN = 20000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kN; ++i) {
    const double x = random.gaussian();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kN, 0, 5 / std::sqrt(kN));
  EXPECT_NEAR(squares / kN, 1, 5 * std::sqrt(2.0 / kN));
}

TEST(ShuffleValues, PermutesAndRepeatsForTheSameSeed) {
  std::vector<int> a(50);
  std::iota(a.begin(), a.end(), 0);
  std::vector<int> b = a, sorted = a;
  SplitMix64 first(9), second(9);
  shuffle_values(a, first);
  shuffle_values(b, second);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, sorted);
  std::sort(a.begin(), a.end());
  EXPECT_EQ(a, sorted);
}

}  // namespace
}  // namespace thimble
