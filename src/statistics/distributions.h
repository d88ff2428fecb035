// Distribution functions that the tests and intervals need. Absolute error below 1e-10 in the ranges used.
#pragma once

#include <cstdint>

namespace thimble {

double normal_cdf(double z) noexcept;
/// Inverse of normal_cdf; p in (0, 1).
double normal_quantile(double p) noexcept;

/// Student's t with `df` degrees of freedom (any positive number).
double student_t_cdf(double t, double df) noexcept;
/// Inverse of student_t_cdf; p in (0, 1).
double student_t_quantile(double p, double df) noexcept;

/// P(X <= k) for X binomial(n, 1/2). k < 0 gives 0.
double binomial_half_cdf(int64_t k, int64_t n) noexcept;

}  // namespace thimble
