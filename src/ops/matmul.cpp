// Matrix products: activations are quantized once per input, then panels of weight rows are handed to threads.
#include <algorithm>
#include <array>
#include <atomic>

#include "kernels/matmul_kernel.h"
#include "kernels/packed_layout.h"
#include "kernels/vector_kernel.h"
#include "ops/ops.h"

namespace thimble::ops {

namespace {

using kernels::ActivationGroup;
using kernels::ActivationLayout;

struct Input {
  const std::byte* data;
  size_t stride;
};

Input quantize_input(const Backend& backend, ActivationLayout layout, const float* x, int64_t n_tokens, int64_t k,
                     ActivationBuffer& scratch) noexcept {
  const size_t stride = kernels::activation_row_bytes(layout, k);
  if (layout == ActivationLayout::f32) return {reinterpret_cast<const std::byte*>(x), stride};
  const auto quantize =
      layout == ActivationLayout::q8_block ? backend.vector->quantize_q8_block : backend.vector->quantize_q8_super;
  std::byte* const out = scratch.data();
  // One row takes about a microsecond: less than waking a thread for it.
  backend.pool->parallel_for(n_tokens, 8, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      quantize(x + t * k, reinterpret_cast<ActivationGroup*>(out + static_cast<size_t>(t) * stride), k);
    }
  });
  return {out, stride};
}

// Rows of one work item: enough to amortize handing it out, few enough that the last ones balance the threads.
int64_t rows_per_item(const Weight& weight, int n_threads) noexcept {
  const int64_t tile = weight.packed != nullptr ? weight.kernel->packed_lanes : weight.kernel->row_tile;
  const int64_t share = weight.n_out() / (static_cast<int64_t>(n_threads) * 8);
  return std::clamp<int64_t>(share / tile, 1, 16) * std::max<int64_t>(tile, 4);
}

void multiply_rows(const MatmulOutput& output, const Input& input, int64_t n_tokens, int64_t begin,
                   int64_t end) noexcept {
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
      .packed = packed};
  w.kernel->function(args);
  if (output.bias == nullptr) return;
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t r = begin; r < end; ++r) output.out[t * w.n_out() + r] += output.bias[r];
  }
}

// Runs the products whose weights read `layout` as one parallel region over all their rows.
void multiply_layout(const Backend& backend, std::span<const MatmulOutput> outputs, ActivationLayout layout,
                     const Input& input, int64_t n_tokens) noexcept {
  const int n_threads = backend.pool->n_threads();
  int64_t n_items = 0;
  for (const MatmulOutput& output : outputs) {
    if (output.weight->kernel->layout != layout) continue;
    const int64_t rows = rows_per_item(*output.weight, n_threads);
    n_items += (output.weight->n_out() + rows - 1) / rows;
  }
  backend.pool->parallel_for(n_items, 1, [&](int64_t begin, int64_t end) {
    int64_t first = 0;
    for (const MatmulOutput& output : outputs) {
      if (output.weight->kernel->layout != layout) continue;
      const int64_t rows = rows_per_item(*output.weight, n_threads);
      const int64_t n_out = output.weight->n_out();
      const int64_t items = (n_out + rows - 1) / rows;
      const int64_t from = std::max(begin - first, int64_t{0});
      const int64_t to = std::min(end - first, items);
      if (from < to) multiply_rows(output, input, n_tokens, from * rows, std::min(to * rows, n_out));
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
