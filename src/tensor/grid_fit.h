// The scale searches by type, as compiled for one instruction set, and the portable ones: the specification that those
// of every instruction set (kernels/grid_fit.h) equal bit for bit.
#pragma once

#include "tensor/fit_spec.h"
#include "tensor/grid.h"

namespace thimble {

/// Fits n_blocks blocks: block b is x + b * x_stride, weighted by importance + b * importance_stride (0: the same for
/// all; null importance: none), its grid out[b]. The result for a block does not depend on the others.
using FitBlocksFn = void (*)(const float* x, int64_t x_stride, const float* importance, int64_t importance_stride,
                             int64_t n_blocks, BlockGrid* out) noexcept;

/// Encodes x [n_rows, n_cols], n_cols a multiple of the block, to out; importance [n_cols] or null, for all rows.
using EncodeRowsFn = void (*)(const float* x, const float* importance, int64_t n_rows, int64_t n_cols,
                              std::byte* out) noexcept;

/// In the order of kFitSpecs.
struct GridKernels {
  FitBlocksFn fit_blocks[kFitTypes];
  EncodeRowsFn encode_rows[kFitTypes];
};

extern const GridKernels kGridFitScalar;

/// Place of a type in kFitSpecs, or -1 for types that are not block-quantized.
int fit_index(TensorType type) noexcept;

}  // namespace thimble
