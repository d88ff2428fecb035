// Student's t through the regularised incomplete beta function (DLMF 8.17.22, the continued fraction by Lentz's
// method); quantiles by bisection, which cannot fail to converge and is never in a hot loop.
#include "statistics/distributions.h"

#include <algorithm>
#include <cmath>

namespace thimble {

namespace {

// lgamma() writes a global sign; the arguments here are positive, where lgamma_r's sign is not needed.
double log_gamma(double x) noexcept {
  int sign = 0;
  return ::lgamma_r(x, &sign);
}

double beta_fraction(double a, double b, double x) noexcept {
  constexpr double kTiny = 1e-300;
  const auto guarded = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1;
  double d = 1 / guarded(1 - (a + b) * x / (a + 1));
  double h = d;
  for (int m = 1; m < 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / guarded(1 + even * d);
    c = guarded(1 + even / c);
    h *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / guarded(1 + odd * d);
    c = guarded(1 + odd / c);
    h *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return h;
}

double incomplete_beta(double a, double b, double x) noexcept {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front = std::exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

template <class Cdf>
double inverse(Cdf cdf, double p) noexcept {
  double low = -1, high = 1;
  while (cdf(low) > p && low > -1e9) low *= 2;
  while (cdf(high) < p && high < 1e9) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (cdf(middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace

double normal_cdf(double z) noexcept {
  return 0.5 * std::erfc(-z / std::sqrt(2.0));
}

double normal_quantile(double p) noexcept {
  return inverse(normal_cdf, p);
}

double student_t_cdf(double t, double df) noexcept {
  const double tail = 0.5 * incomplete_beta(df / 2, 0.5, df / (df + t * t));
  return t > 0 ? 1 - tail : tail;
}

double student_t_quantile(double p, double df) noexcept {
  return inverse([df](double t) { return student_t_cdf(t, df); }, p);
}

double binomial_half_cdf(int64_t k, int64_t n) noexcept {
  double sum = 0;
  for (int64_t i = 0; i <= std::min(k, n); ++i) {
    const auto x = static_cast<double>(i);
    const auto m = static_cast<double>(n);
    sum += std::exp(log_gamma(m + 1) - log_gamma(x + 1) - log_gamma(m - x + 1) - m * std::log(2.0));
  }
  return std::min(1.0, sum);
}

}  // namespace thimble
