// Rounding with second-order information: GPTQ as LDLQ (coordinate_descent.h goes on from it). Works on a strip of rows
// of one matrix (rows are independent given the inputs' second moment), on any grid of tensor/grid.h.
//
// The loss is tr((Q - W) H (Q - W)^T). GPTQ (Frantar et al. 2210.17323) in the form of QuIP (Chee et al. 2307.13304,
// theorem 6: the two are equal): with H = (U + I) D (U + I)^T column k is rounded from w_k + (w - q)_{<k} U_{<k,k}.
// That needs one Cholesky factor and no inverse, and errors are those against the original weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "ops/ops.h"
#include "quantize/linear_algebra.h"
#include "tensor/grid.h"

namespace thimble {

/// A strip of rows while it is rounded.
struct RowStrip {
  const GridTraits* grid = nullptr;
  int64_t n_rows = 0;
  int64_t n_in = 0;
  const float* weights = nullptr;  // [n_rows, n_in], not owned
  AlignedBuffer<float> error;      // [n_rows, n_in] Q - W
  std::vector<BlockGrid> blocks;   // [n_rows, n_in / block_elems]
  std::vector<uint8_t> codes;      // [n_rows, n_in]

  RowStrip() = default;
  RowStrip(const GridTraits& type, const float* w, int64_t rows, int64_t columns);
  int64_t n_blocks() const noexcept { return n_in / grid->block_elems; }
  BlockGrid& block(int64_t row, int64_t column) noexcept {
    return blocks[static_cast<size_t>(row * n_blocks() + column / grid->block_elems)];
  }
};

/// Scales by the type's search, codes by rounding to nearest. `importance` [n_in] or empty.
void round_nearest(const ops::Backend& backend, std::span<const float> importance, RowStrip& strip) noexcept;

/// GPTQ: the scales of a block are searched when its first column is reached, on the weights as they are then (with the
/// errors of all columns before passed on), weighted by `importance`; codes follow column by column.
void round_gptq(const ops::Backend& backend, const FeedbackFactor& factor, std::span<const float> importance,
                RowStrip& strip);

/// tr(E H E^T) of errors e [n_rows, n_in]; h is symmetric. Errors: std::bad_alloc.
double quadratic_loss(const ops::Backend& backend, const float* h, const float* e, int64_t n_rows, int64_t n_in);

/// Sum of |E x|^2 over inputs x [n_x, n_in], for errors e [n_rows, n_in].
double output_loss(const ops::Backend& backend, const float* x, int64_t n_x, const float* e, int64_t n_rows,
                   int64_t n_in);

/// Packs the strip into rows of blocks: out [n_rows * row_bytes].
void store_strip(const ops::Backend& backend, const RowStrip& strip, std::byte* out) noexcept;

}  // namespace thimble
