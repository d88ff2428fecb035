// Matrix products over the rows of a strip, shared by the methods of second-order rounding. Columns are walked in
// panels: what lies outside of a panel enters by one product, what lies inside column by column.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/ops.h"

namespace thimble {

/// Columns of a panel, a multiple of every block. Small: work inside of a panel is sequential; large: products of few
/// output columns leave the matrix kernels idle.
inline constexpr int64_t kPanelColumns = 256;
/// Rows that one call works on: the blocks that a scale search holds in its lanes.
inline constexpr int64_t kRowGrain = 16;

struct ColumnPanel {
  int64_t first = 0;
  int64_t size = 0;
  int64_t end() const noexcept { return first + size; }
};

inline int64_t panel_count(int64_t n_in) noexcept {
  return (n_in + kPanelColumns - 1) / kPanelColumns;
}
inline ColumnPanel column_panel(int64_t index, int64_t n_in) noexcept {
  return {index * kPanelColumns, std::min(kPanelColumns, n_in - index * kPanelColumns)};
}

/// out [n_x, n_w] = x [n_x, k] w [n_w, k]^T.
void multiply_rows(const ops::Backend& backend, const float* w, int64_t n_w, const float* x, int64_t n_x, int64_t k,
                   float* out);

/// Products of the first columns of two matrices [*, n_in]: the others are known to be zero, or counted elsewhere.
class LeadingProduct {
 public:
  /// Up to `n_x` rows of x. Errors: std::bad_alloc.
  LeadingProduct(int64_t n_x, int64_t n_in)
      : n_in_(n_in),
        w_(static_cast<size_t>(kPanelColumns * n_in)),
        x_(static_cast<size_t>(n_x * n_in)),
        out_(static_cast<size_t>(n_x * kPanelColumns)) {}

  /// x[:, 0..k) w[:, 0..k)^T with the first `n_doubled` columns of x counted twice; w has n_w <= kPanelColumns rows.
  /// The result [n_x, n_w] is valid until the next call.
  const float* multiply(const ops::Backend& backend, const float* w, int64_t n_w, const float* x, int64_t n_x,
                        int64_t k, int64_t n_doubled = 0);

 private:
  int64_t n_in_;
  std::vector<float> w_, x_, out_;
};

}  // namespace thimble
