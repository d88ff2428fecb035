// Matrix products: activations are quantized once per input, then panels of weight rows are handed to threads.
#include <algorithm>
#include <array>

#include "kernels/matmul_kernel.h"
#include "kernels/packed_layout.h"
#include "kernels/vector_kernel.h"
#include "ops/ops.h"
#include "ops/outliers.h"

namespace thimble::ops {

namespace {

using kernels::ActivationGroup;
using kernels::ActivationLayout;

struct Input {
  const std::byte* data;
  size_t stride;
  const float* floats;  // [n_tokens, k], what data was made from
};

Input quantize_input(const Backend& backend, ActivationLayout layout, const float* x, int64_t n_tokens, int64_t k,
                     ActivationBuffer& scratch) noexcept {
  const size_t stride = kernels::activation_row_bytes(layout, k);
  if (layout == ActivationLayout::f32) return {reinterpret_cast<const std::byte*>(x), stride, x};
  const auto quantize =
      layout == ActivationLayout::q8_block ? backend.vector->quantize_q8_block : backend.vector->quantize_q8_super;
  std::byte* const out = scratch.data();
  // One row takes about a microsecond: less than waking a thread for it.
  backend.pool->parallel_for(n_tokens, 8, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      quantize(x + t * k, reinterpret_cast<ActivationGroup*>(out + static_cast<size_t>(t) * stride), k);
    }
  });
  return {out, stride, x};
}

// Rows that a kernel walks through together: where threads may divide a matrix.
int64_t rows_per_item(const Weight& weight) noexcept {
  return weight.packed != nullptr ? weight.kernel->packed_lanes : std::max(weight.kernel->row_tile, 4);
}

int64_t items_of(const Weight& weight) noexcept {
  const int64_t rows = rows_per_item(weight);
  return (weight.n_out() + rows - 1) / rows;
}

void multiply_rows(const Backend& backend, const MatmulOutput& output, const Input& input, int64_t n_tokens,
                   int64_t begin, int64_t end) noexcept {
  const Weight& w = *output.weight;
  const bool packed = w.packed != nullptr;
  const int lanes = w.kernel->packed_lanes;
  const size_t panel = packed ? kernels::packed_panel_bytes(w.view.type, lanes, w.n_in()) : 0;
  const kernels::MatmulArgs args = {
      .weights = packed ? w.packed + static_cast<size_t>(begin / lanes) * panel : w.view.row(begin),
      .weight_stride = packed ? panel : w.view.row_bytes(),
      .x = input.data,
      .x_stride = input.stride,
      .out = output.out + begin,
      .out_stride = static_cast<size_t>(w.n_out()),
      .n_rows = end - begin,
      .n_cols = n_tokens,
      .k = w.n_in(),
      .packed = packed,
      .prefetch = backend.prefetch};
  w.kernel->function(args);
  if (w.outliers.k() > 0) add_outlier_products(w, input.floats, n_tokens, begin, end, output.out);
  if (output.bias == nullptr) return;
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t r = begin; r < end; ++r) output.out[t * w.n_out() + r] += output.bias[r];
  }
}

// Runs the products whose weights read `layout` as one parallel region over all their rows: each thread streams one
// range of neighbouring rows, so that the memory it reads next is where its prefetchers look.
void multiply_layout(const Backend& backend, std::span<const MatmulOutput> outputs, ActivationLayout layout,
                     const Input& input, int64_t n_tokens) noexcept {
  int64_t n_items = 0;
  for (const MatmulOutput& output : outputs) {
    if (output.weight->kernel->layout == layout) n_items += items_of(*output.weight);
  }
  backend.pool->split(n_items, 1, [&](int64_t begin, int64_t end) {
    int64_t first = 0;
    for (const MatmulOutput& output : outputs) {
      if (output.weight->kernel->layout != layout) continue;
      const int64_t items = items_of(*output.weight);
      const int64_t rows = rows_per_item(*output.weight);
      const int64_t from = std::max(begin - first, int64_t{0});
      const int64_t to = std::min(end - first, items);
      if (from < to)
        multiply_rows(backend, output, input, n_tokens, from * rows, std::min(to * rows, output.weight->n_out()));
      first += items;
    }
  });
}

}  // namespace

void matmul(const Backend& backend, std::span<const MatmulOutput> outputs, const float* x, int64_t n_tokens,
            ActivationBuffer& scratch) noexcept {
  if (outputs.empty() || n_tokens <= 0) return;
  const int64_t k = outputs.front().weight->n_in();
  // Most groups share one layout; a mixed one (f16 beside q4_k) takes one region per layout.
  for (const ActivationLayout layout :
       {ActivationLayout::f32, ActivationLayout::q8_block, ActivationLayout::q8_super}) {
    const bool used = std::any_of(outputs.begin(), outputs.end(),
                                  [&](const MatmulOutput& output) { return output.weight->kernel->layout == layout; });
    if (!used) continue;
    const Input input = quantize_input(backend, layout, x, n_tokens, k, scratch);
    multiply_layout(backend, outputs, layout, input, n_tokens);
  }
}

}  // namespace thimble::ops
