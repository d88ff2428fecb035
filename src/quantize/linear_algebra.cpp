// Blocked Cholesky factorization, rows over threads, and the feedback factor made from it.
#include "quantize/linear_algebra.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace thimble {

namespace {

// Columns factored together: their rows of L (64 x n doubles, 2.9 MB at n = 5632) are what every other row is
// multiplied by.
constexpr int64_t kBlock = 64;
constexpr double kLargestDamp = 1.0;

// Four lanes whatever the machine has: the order of a sum must not depend on it. As two halves, because a register of
// 32 bytes is passed differently with and without AVX.
typedef double Half __attribute__((vector_size(16)));
struct Lanes {
  Half low = {};
  Half high = {};
};

inline Lanes load(const double* p) noexcept {
  Lanes v;
  std::memcpy(&v.low, p, sizeof v.low);
  std::memcpy(&v.high, p + 2, sizeof v.high);
  return v;
}

inline void add_product(Lanes& sum, const Lanes& a, const Lanes& b) noexcept {
  sum.low += a.low * b.low;
  sum.high += a.high * b.high;
}

inline double total(const Lanes& v) noexcept {
  return (v.low[0] + v.low[1]) + (v.high[0] + v.high[1]);
}

double dot(const double* a, const double* b, int64_t n) noexcept {
  Lanes sum;
  int64_t k = 0;
  for (; k + 4 <= n; k += 4) add_product(sum, load(a + k), load(b + k));
  double result = total(sum);
  for (; k < n; ++k) result += a[k] * b[k];
  return result;
}

// out[0..1][0..1] = rows a0, a1 times rows b0, b1; n is a multiple of 4. The same sums as dot().
void dot_2x2(const double* const a[2], const double* const b[2], int64_t n, double out[2][2]) noexcept {
  Lanes s00, s01, s10, s11;
  for (int64_t k = 0; k < n; k += 4) {
    const Lanes x0 = load(a[0] + k);
    const Lanes x1 = load(a[1] + k);
    const Lanes y0 = load(b[0] + k);
    const Lanes y1 = load(b[1] + k);
    add_product(s00, x0, y0);
    add_product(s01, x0, y1);
    add_product(s10, x1, y0);
    add_product(s11, x1, y1);
  }
  out[0][0] = total(s00);
  out[0][1] = total(s01);
  out[1][0] = total(s10);
  out[1][1] = total(s11);
}

// a[i][first..last) -= L[i][0..first) L[j][0..first)^T for rows [begin, end); entries right of the diagonal may be
// written too, they are never read.
void subtract_products(double* a, int64_t n, int64_t first, int64_t last, int64_t begin, int64_t end) noexcept {
  int64_t i = begin;
  for (; i + 2 <= end; i += 2) {
    double* const rows[2] = {a + i * n, a + (i + 1) * n};
    int64_t j = first;
    for (; j + 2 <= last && j <= i + 1; j += 2) {
      double sums[2][2];
      const double* const left[2] = {rows[0], rows[1]};
      const double* const right[2] = {a + j * n, a + (j + 1) * n};
      dot_2x2(left, right, first, sums);
      for (int r = 0; r < 2; ++r) {
        for (int c = 0; c < 2; ++c) {
          if (j + c <= i + r) rows[r][j + c] -= sums[r][c];
        }
      }
    }
    for (; j < last; ++j) {
      for (int64_t r = 0; r < 2; ++r) {
        if (j <= i + r) rows[r][j] -= dot(rows[r], a + j * n, first);
      }
    }
  }
  for (; i < end; ++i) {
    for (int64_t j = first; j < std::min(last, i + 1); ++j) a[i * n + j] -= dot(a + i * n, a + j * n, first);
  }
}

// Columns [first, last) of row i, given those of the rows above: a triangular solve.
void solve_row(double* a, int64_t n, int64_t first, int64_t last, int64_t i) noexcept {
  double* const row = a + i * n;
  for (int64_t j = first; j < last; ++j) {
    const double* const other = a + j * n;
    row[j] = (row[j] - dot(row + first, other + first, j - first)) / other[j];
  }
}

bool factor_diagonal(double* a, int64_t n, int64_t first, int64_t last) noexcept {
  for (int64_t i = first; i < last; ++i) {
    double* const row = a + i * n;
    solve_row(a, n, first, i, i);
    const double pivot = row[i] - dot(row + first, row + first, i - first);
    if (!(pivot > 0.0) || !std::isfinite(pivot)) return false;
    row[i] = std::sqrt(pivot);
  }
  return true;
}

// The order of indices is reversed, so that the factor comes out upper triangular.
void fill_reversed(const float* h, int64_t n, double added, double* a) noexcept {
  for (int64_t i = 0; i < n; ++i) {
    const float* const row = h + (n - 1 - i) * n;
    for (int64_t j = 0; j <= i; ++j) a[i * n + j] = static_cast<double>(row[n - 1 - j]);
    a[i * n + i] += added;
  }
}

FeedbackFactor take_factor(const std::vector<double>& l, int64_t n, double damp) {
  FeedbackFactor out;
  out.n = n;
  out.damp = damp;
  out.feedback.assign(static_cast<size_t>(n * n), 0.0f);
  out.variance.resize(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) {
    const int64_t column = n - 1 - k;
    const double pivot = l[static_cast<size_t>(column * n + column)];
    out.variance[static_cast<size_t>(k)] = pivot * pivot;
    float* const row = out.feedback.data() + k * n;
    for (int64_t j = 0; j < k; ++j)
      row[j] = static_cast<float>(l[static_cast<size_t>((n - 1 - j) * n + column)] / pivot);
  }
  return out;
}

}  // namespace

bool cholesky_in_place(double* a, int64_t n, ThreadPool& pool) noexcept {
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = std::min(n, first + kBlock);
    pool.parallel_for(n - first, 16, [&](int64_t begin, int64_t end) {
      subtract_products(a, n, first, last, first + begin, first + end);
    });
    if (!factor_diagonal(a, n, first, last)) return false;
    pool.parallel_for(n - last, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = last + begin; i < last + end; ++i) solve_row(a, n, first, last, i);
    });
  }
  return true;
}

std::optional<FeedbackFactor> factor_second_moment(const float* h, int64_t n, double damp, ThreadPool& pool) {
  double trace = 0.0;
  for (int64_t i = 0; i < n; ++i) trace += static_cast<double>(h[i * n + i]);
  const double mean = trace / static_cast<double>(n);
  if (!(mean > 0.0) || !std::isfinite(mean)) return std::nullopt;
  std::vector<double> a(static_cast<size_t>(n * n));
  for (double share = damp;; share = std::min(kLargestDamp, std::max(share, 1e-4) * 10.0)) {
    fill_reversed(h, n, share * mean, a.data());
    if (cholesky_in_place(a.data(), n, pool)) return take_factor(a, n, share);
    if (share >= kLargestDamp) return std::nullopt;
  }
}

}  // namespace thimble
