// Gram matrices: x^T x by the float matmul kernels, with the rows of x^T as weights and as activations. Only tiles that
// touch the upper triangle are multiplied; a thread adds each tile to the sums while it lies in its cache.
#include <algorithm>

#include "kernels/matmul_kernel.h"
#include "ops/ops.h"

namespace thimble::ops {

namespace {

// A tile of results is 128 KiB of floats, beside what the kernel keeps. 128 rows are one pass of the kernels
// (kMaxColumns of panel_matmul.h), so that they widen a panel once per tile.
constexpr int64_t kTileRows = 128;
constexpr int64_t kTileColumns = 256;

struct GramTile {
  int64_t row, row_end, column, column_end;
};

// Tiles of the triangle, rows of tiles one after the other: tile number `index`.
GramTile find_tile(int64_t n, int64_t index) noexcept {
  for (int64_t row = 0;; row += kTileRows) {
    const int64_t first = row / kTileColumns * kTileColumns;
    const int64_t n_tiles = (n - first + kTileColumns - 1) / kTileColumns;
    if (index >= n_tiles) {
      index -= n_tiles;
      continue;
    }
    const int64_t column = first + index * kTileColumns;
    return {row, std::min(row + kTileRows, n), column, std::min(column + kTileColumns, n)};
  }
}

int64_t count_tiles(int64_t n) noexcept {
  int64_t count = 0;
  for (int64_t row = 0; row < n; row += kTileRows) {
    count += (n - row / kTileColumns * kTileColumns + kTileColumns - 1) / kTileColumns;
  }
  return count;
}

void add_tile(const GramTile& tile, int64_t n, const float* products, double* h) noexcept {
  for (int64_t r = tile.row; r < tile.row_end; ++r) {
    const float* const from = products + (r - tile.row) * kTileColumns;
    double* const to = h + triangle_row(n, r) - r;
    for (int64_t c = std::max(tile.column, r); c < tile.column_end; ++c) {
      to[c] += static_cast<double>(from[c - tile.column]);
    }
  }
}

}  // namespace

size_t gram_scratch_floats(const Backend& backend) noexcept {
  return static_cast<size_t>(backend.pool->n_threads()) * kTileRows * kTileColumns;
}

void add_gram(const Backend& backend, const float* x_t, int64_t n, int64_t n_tokens, double* h,
              float* scratch) noexcept {
  if (n <= 0 || n_tokens <= 0) return;
  const kernels::MatmulKernel* const kernel = kernels::select(TensorType::f32, backend.isa);
  const size_t stride = static_cast<size_t>(n_tokens) * sizeof(float);
  std::atomic<int64_t> next{0};
  const int64_t n_tiles = count_tiles(n);
  backend.pool->run([&](int thread_index) {
    float* const products = scratch + int64_t{thread_index} * kTileRows * kTileColumns;
    for (int64_t i = next.fetch_add(1); i < n_tiles; i = next.fetch_add(1)) {
      const GramTile tile = find_tile(n, i);
      kernel->function({.weights = reinterpret_cast<const std::byte*>(x_t + tile.column * n_tokens),
                        .weight_stride = stride,
                        .x = reinterpret_cast<const std::byte*>(x_t + tile.row * n_tokens),
                        .x_stride = stride,
                        .out = products,
                        .out_stride = kTileColumns,
                        .n_rows = tile.column_end - tile.column,
                        .n_cols = tile.row_end - tile.row,
                        .k = n_tokens,
                        .packed = false});
      add_tile(tile, n, products, h);
    }
  });
}

void transpose(const Backend& backend, const float* x, int64_t n_rows, int64_t n, float* out) noexcept {
  constexpr int64_t kBlock = 16;  // floats of a cache line
  backend.pool->split(n, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < n_rows; row += kBlock) {
      const int64_t row_end = std::min(row + kBlock, n_rows);
      for (int64_t column = begin; column < end; column += kBlock) {
        const int64_t column_end = std::min(column + kBlock, end);
        for (int64_t c = column; c < column_end; ++c) {
          for (int64_t r = row; r < row_end; ++r) out[c * n_rows + r] = x[r * n + c];
        }
      }
    }
  });
}

}  // namespace thimble::ops
