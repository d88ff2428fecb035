// Rounding of weights to block-quantized types with the kernels of a machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/ops.h"
#include "tensor/grid.h"

namespace thimble::ops {

/// Encodes x [n_rows, n_cols] to out [n_rows * row_bytes] of `type` (any type with an encoder), n_cols a multiple of
/// its block, on the calling thread: callers deal rows to threads. importance [n_cols] or null, as in EncodeFn, the
/// same for all rows. 16 blocks or more at once fill the registers of every machine. Equal bit for bit to
/// TypeTraits::encode row by row, on every instruction set.
void encode_rows(const Backend& backend, TensorType type, const float* x, int64_t n_rows, int64_t n_cols,
                 const float* importance, std::byte* out) noexcept;

/// Blocks to be fitted: block b is x + b * x_stride, its importance (null: none) importance + b * importance_stride,
/// which may be 0. A column of superblocks of a matrix [n_rows, n_cols] has x_stride n_cols and importance_stride 0.
struct BlockColumn {
  const float* x;
  int64_t x_stride;
  const float* importance;
  int64_t importance_stride;
  int64_t n_blocks;
};

/// GridTraits::fit of every block, on the calling thread; `type` must be block-quantized. Equal bit for bit to fit
/// block by block, on every instruction set; out [n_blocks].
void fit_blocks(const Backend& backend, TensorType type, const BlockColumn& blocks, BlockGrid* out) noexcept;

}  // namespace thimble::ops
