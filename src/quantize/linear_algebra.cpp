// Blocked Cholesky factorization, rows over threads, and the feedback factor made from it.
#include "quantize/linear_algebra.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/vector_kernel.h"

namespace thimble {

namespace {

// Columns factored together; rows that are multiplied by their rows of L at a time; numbers of each row that are
// multiplied before the next rows are. What is read again and again (32 KB of sums, 32 KB of rows, 32 KB of those that
// all are multiplied by) stays in a core's second cache.
constexpr int64_t kBlock = 64;
constexpr int64_t kTileRows = 64;
constexpr int64_t kDepth = 64;
constexpr int64_t kGroups = kBlock / kernels::kProductGroup;
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

// The rows [first, last) of L up to column `first`, as add_products_f64 reads them: piece after piece of kDepth
// columns, in each the rows in groups. Rows that are not there hold numbers whose sums nobody reads.
class RowPanel {
 public:
  explicit RowPanel(int64_t n) : values_(static_cast<size_t>((n + kDepth - 1) / kDepth * kDepth * kBlock)) {}

  void take(const double* a, int64_t n, int64_t first, int64_t last) noexcept {
    for (int64_t j = first; j < last; ++j) {
      const double* const row = a + j * n;
      for (int64_t k = 0; k < first; ++k) {
        double* const group = values_.data() + (k / kDepth * kGroups + (j - first) / kWidth) * kDepth * kWidth;
        group[k % kDepth * kWidth + (j - first) % kWidth] = row[k];
      }
    }
  }
  const double* piece(int64_t k) const noexcept { return values_.data() + k / kDepth * kDepth * kBlock; }

  static constexpr int64_t kWidth = kernels::kProductGroup;

 private:
  std::vector<double> values_;
};

// a[i][first..last) -= L[i][0..first) L[j][0..first)^T for rows [begin, end), at most kTileRows, by the panel of rows
// [first, last).
void subtract_products(const kernels::VectorKernels& vector, double* a, const RowPanel& panel, int64_t n, int64_t first,
                       int64_t last, int64_t begin, int64_t end) noexcept {
  alignas(64) double sums[kTileRows][kBlock] = {};
  for (int64_t k = 0; k < first; k += kDepth) {
    vector.add_products_f64({a + begin * n + k, panel.piece(k), end - begin, kGroups, n, kDepth * RowPanel::kWidth,
                             std::min(kDepth, first - k), sums[0], kBlock});
  }
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t j = first; j < std::min(last, i + 1); ++j) a[i * n + j] -= sums[i - begin][j - first];
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

// Rows of the factor that are written together: as many columns of L, which lie side by side, are read together.
constexpr int64_t kTakenRows = 16;

// The order of indices is reversed, so that the factor comes out upper triangular.
void fill_reversed(const float* h, int64_t n, double added, ThreadPool& pool, double* a) noexcept {
  pool.parallel_for(n, kTileRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const row = h + (n - 1 - i) * n;
      for (int64_t j = 0; j <= i; ++j) a[i * n + j] = static_cast<double>(row[n - 1 - j]);
      a[i * n + i] += added;
    }
  });
}

FeedbackFactor take_factor(const double* l, int64_t n, double damp, ThreadPool& pool) {
  FeedbackFactor out;
  out.n = n;
  out.damp = damp;
  out.feedback.assign(static_cast<size_t>(n * n), 0.0f);
  out.variance.resize(static_cast<size_t>(n));
  const double* const last = l + (n - 1) * n + n - 1;
  for (int64_t k = 0; k < n; ++k) {
    const double pivot = last[-k * (n + 1)];
    out.variance[static_cast<size_t>(k)] = pivot * pivot;
  }
  pool.parallel_for(n, kTakenRows, [&](int64_t begin, int64_t end) {
    for (; begin < end; begin += kTakenRows) {
      const int64_t stop = std::min(end, begin + kTakenRows);
      for (int64_t first = 0; first < stop; first += kTileRows) {
        for (int64_t k = begin; k < stop; ++k) {
          const double pivot = last[-k * (n + 1)];
          float* const row = out.feedback.data() + k * n;
          for (int64_t j = first; j < std::min(k, first + kTileRows); ++j) {
            row[j] = static_cast<float>(last[-j * n - k] / pivot);
          }
        }
      }
    }
  });
  return out;
}

}  // namespace

bool cholesky_in_place(double* a, int64_t n, const ops::Backend& backend) {
  ThreadPool& pool = *backend.pool;
  RowPanel panel(n);
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = std::min(n, first + kBlock);
    panel.take(a, n, first, last);
    pool.parallel_for(n - first, kTileRows, [&](int64_t begin, int64_t end) {
      for (int64_t i = first + begin; i < first + end; i += kTileRows) {
        subtract_products(*backend.vector, a, panel, n, first, last, i, std::min(i + kTileRows, first + end));
      }
    });
    if (!factor_diagonal(a, n, first, last)) return false;
    pool.parallel_for(n - last, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = last + begin; i < last + end; ++i) solve_row(a, n, first, last, i);
    });
  }
  return true;
}

std::optional<FeedbackFactor> factor_second_moment(const float* h, int64_t n, double damp,
                                                   const ops::Backend& backend) {
  double trace = 0.0;
  for (int64_t i = 0; i < n; ++i) trace += static_cast<double>(h[i * n + i]);
  const double mean = trace / static_cast<double>(n);
  if (!(mean > 0.0) || !std::isfinite(mean)) return std::nullopt;
  // Not a vector: the threads that fill it touch its pages first.
  const std::unique_ptr<double[]> a = std::make_unique_for_overwrite<double[]>(static_cast<size_t>(n * n));
  for (double share = damp;; share = std::min(kLargestDamp, std::max(share, 1e-4) * 10.0)) {
    fill_reversed(h, n, share * mean, *backend.pool, a.get());
    if (cholesky_in_place(a.get(), n, backend)) return take_factor(a.get(), n, share, *backend.pool);
    if (share >= kLargestDamp) return std::nullopt;
  }
}

}  // namespace thimble
