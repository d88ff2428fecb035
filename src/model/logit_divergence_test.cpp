#include "model/logit_divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"

namespace thimble {
namespace {

TEST(KlDivergence, HandComputedValue) {
  // p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): KL = 1/2 ln 2 + 0 + 1/4 ln(1/2) = 1/4 ln 2. Logits may have any offset.
  const std::vector<float> p = {std::log(2.0f) + 5, std::log(1.0f) + 5, std::log(1.0f) + 5};
  const std::vector<float> q = {std::log(1.0f), std::log(1.0f), std::log(2.0f)};
  EXPECT_NEAR(kl_divergence(p, q), 0.25 * std::log(2.0), 1e-6);
  EXPECT_NEAR(kl_divergence(p, p), 0.0, 1e-6);
  EXPECT_THROW(kl_divergence(p, {}), Error);
  EXPECT_THROW(kl_divergence({}, {}), Error);
}

TEST(KlDivergence, NormaliserTakesLogitsBeyondTheRangeOfExp) {
  const std::vector<float> logits = {1000.0f, 1000.0f, -1000.0f};
  EXPECT_NEAR(log_normaliser(logits), 1000.0 + std::log(2.0), 1e-9);
}

}  // namespace
}  // namespace thimble
