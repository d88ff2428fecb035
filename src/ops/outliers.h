// Inside ops: what outlier columns add to a product and to a row.
#pragma once

#include "ops/ops.h"

namespace thimble::ops {

/// out[t][r] += sum over j of x[t][index[j]] * values[r][j], rows `begin` to `end` of all tokens; x [n_tokens, n_in],
/// out [n_tokens, n_out]. For one thread; needs no memory but its stack.
void add_outlier_products(const Weight& weight, const float* x, int64_t n_tokens, int64_t begin, int64_t end,
                          float* out) noexcept;

/// out[index[j]] += values[row][j]; out [n_in].
void add_outlier_row(const OutlierColumns& outliers, int64_t row, float* out) noexcept;

}  // namespace thimble::ops
