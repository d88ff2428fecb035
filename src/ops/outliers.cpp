// Outlier columns: a gather of the channels and a small product by the F16 kernel, which sums in the same order on
// every instruction set of a family. It is done tile by tile on the stack of the thread that has just made these rows
// of the product: no scratch memory, no further meeting of threads. Gathering anew in every thread costs one load per
// channel, against 64 multiplications at least.
#include "ops/outliers.h"

#include <algorithm>

#include "base/error.h"
#include "base/float16.h"
#include "kernels/matmul_kernel.h"

namespace thimble::ops {

namespace {

// Of a tile: gathered activations take 12 KiB, products 6 KiB. Multiples of every F16 kernel's row and column tile.
constexpr int64_t kTokens = 24;
constexpr int64_t kRows = 64;
constexpr int64_t kChannels = kernels::kFloatChunk;

struct OutlierTile {
  alignas(64) float x[kTokens * kChannels];
  alignas(64) float product[kTokens * kRows];
};

}  // namespace

OutlierColumns prepare_outliers(std::span<const int32_t> index, const TensorView& values, int64_t n_in, int64_t n_out,
                                kernels::Isa isa) {
  const auto k = static_cast<int64_t>(index.size());
  if (k < 1) fail(ErrorCode::corrupt, "outlier index: found no channel, expected at least 1");
  for (size_t j = 0; j < index.size(); ++j) {
    if (index[j] < 0 || index[j] >= n_in) {
      fail(ErrorCode::corrupt, "outlier index: found channel {} at {}, expected 0 to {}", index[j], j, n_in - 1);
    }
    if (j > 0 && index[j] <= index[j - 1]) {
      fail(ErrorCode::corrupt, "outlier index: found channel {} after {} at {}, expected ascending channels", index[j],
           index[j - 1], j);
    }
  }
  if (values.type != TensorType::f16) {
    fail(ErrorCode::unsupported, "outlier values: found type {}, expected f16", traits(values.type).name);
  }
  if (values.ne[0] != k || values.ne[1] != n_out || values.ne[2] != 1 || values.ne[3] != 1) {
    fail(ErrorCode::corrupt, "outlier values: found shape [{}, {}, {}, {}], expected [{}, {}, 1, 1]", values.ne[0],
         values.ne[1], values.ne[2], values.ne[3], k, n_out);
  }
  return {index.data(), values, kernels::select(TensorType::f16, isa)};
}

void add_outlier_products(const Weight& weight, const float* x, int64_t n_tokens, int64_t begin, int64_t end,
                          float* out) noexcept {
  const OutlierColumns& o = weight.outliers;
  OutlierTile tile;
  for (int64_t first = 0; first < o.k(); first += kChannels) {
    const int64_t k = std::min(kChannels, o.k() - first);
    for (int64_t token = 0; token < n_tokens; token += kTokens) {
      const int64_t tokens = std::min(kTokens, n_tokens - token);
      for (int64_t t = 0; t < tokens; ++t) {
        const float* from = x + (token + t) * weight.n_in();
        for (int64_t j = 0; j < k; ++j) tile.x[t * k + j] = from[o.index[first + j]];
      }
      for (int64_t row = begin; row < end; row += kRows) {
        const int64_t rows = std::min(kRows, end - row);
        o.kernel->function({.weights = o.values.row(row) + static_cast<size_t>(first) * sizeof(uint16_t),
                            .weight_stride = o.values.row_bytes(),
                            .x = reinterpret_cast<const std::byte*>(tile.x),
                            .x_stride = static_cast<size_t>(k) * sizeof(float),
                            .out = tile.product,
                            .out_stride = static_cast<size_t>(rows),
                            .n_rows = rows,
                            .n_cols = tokens,
                            .k = k});
        for (int64_t t = 0; t < tokens; ++t) {
          float* to = out + (token + t) * weight.n_out() + row;
          for (int64_t r = 0; r < rows; ++r) to[r] += tile.product[t * rows + r];
        }
      }
    }
  }
}

void add_outlier_row(const OutlierColumns& outliers, int64_t row, float* out) noexcept {
  if (outliers.k() == 0) return;
  const std::byte* values = outliers.values.row(row);
  for (int64_t j = 0; j < outliers.k(); ++j) {
    uint16_t half = 0;
    __builtin_memcpy(&half, values + 2 * j, sizeof half);
    out[outliers.index[j]] += f16_to_f32(half);
  }
}

}  // namespace thimble::ops
