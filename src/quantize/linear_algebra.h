// The dense linear algebra of second-order rounding: one triangular factor of a damped second-moment matrix. Own code
// on plain doubles, because sums in one fixed order make a quantized file the same on every machine, instruction set
// and number of threads, which a library that picks its instructions by processor does not.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ops/ops.h"

namespace thimble {

/// Factors a symmetric positive definite matrix in place: of `a` [n, n], row-major, the lower triangle is read and
/// replaced by L with a = L L^T; the strict upper triangle is not touched. False when a pivot is not positive and
/// finite, `a` then holds rubble. Errors: std::bad_alloc.
bool cholesky_in_place(double* a, int64_t n, const ops::Backend& backend);

/// H + damping = (U + I) diag(variance) (U + I)^T with U strictly upper triangular: how GPTQ passes rounding errors on
/// (as LDLQ, see second_order.h).
struct FeedbackFactor {
  int64_t n = 0;
  double damp = 0;               // share of the mean diagonal that was added in the end
  std::vector<float> feedback;   // [n, n]: row k holds U[j][k] at j < k and zeros from k on
  std::vector<double> variance;  // [n]: what columns after k do not tell about x_k
  const float* row(int64_t k) const noexcept { return feedback.data() + k * n; }
};

/// Factors h [n, n] (both triangles) with damp * mean(diag h) added to its diagonal. When a pivot fails, tries ten
/// times the damping, up to 1 (GPTQModel does likewise); nothing when that fails too, which takes entries that are not
/// finite, a negative diagonal, or h = 0. Errors: std::bad_alloc.
std::optional<FeedbackFactor> factor_second_moment(const float* h, int64_t n, double damp, const ops::Backend& backend);

}  // namespace thimble
