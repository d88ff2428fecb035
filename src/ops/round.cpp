#include "ops/round.h"

#include "kernels/grid_fit.h"

namespace thimble::ops {

void encode_rows(const Backend& backend, TensorType type, const float* x, int64_t n_rows, int64_t n_cols,
                 const float* importance, std::byte* out) noexcept {
  if (n_rows < 1 || n_cols < 1) return;
  const EncodeRowsFn encode = kernels::select_encode_rows(type, backend.isa);
  if (encode != nullptr) return encode(x, importance, n_rows, n_cols, out);
  const TypeTraits& row = traits(type);
  const int64_t row_size = n_cols / row.block_elems * row.block_bytes;
  for (int64_t r = 0; r < n_rows; ++r) row.encode(x + r * n_cols, importance, out + r * row_size, n_cols);
}

void fit_blocks(const Backend& backend, TensorType type, const BlockColumn& blocks, BlockGrid* out) noexcept {
  kernels::select_fit_blocks(type, backend.isa)(blocks.x, blocks.x_stride, blocks.importance, blocks.importance_stride,
                                                blocks.n_blocks, out);
}

}  // namespace thimble::ops
