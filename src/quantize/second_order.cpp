// Panels of columns: what lies outside of a panel enters by one matrix product, what lies inside a step of columns at a
// time, and inside of a step column by column.
#include "quantize/second_order.h"

#include <algorithm>
#include <cmath>

#include "kernels/vector_kernel.h"
#include "ops/round.h"
#include "quantize/strip_products.h"

namespace thimble {

namespace {

// body(begin, end) over the rows, at most kRowGrain at once also where one thread gets all of them.
template <typename Body>
void for_row_groups(const ops::Backend& backend, int64_t n_rows, const Body& body) noexcept {
  backend.pool->parallel_for(n_rows, kRowGrain, [&](int64_t begin, int64_t end) {
    for (; begin < end; begin += kRowGrain) body(begin, std::min(end, begin + kRowGrain));
  });
}

// Columns whose errors are passed on one by one to each other, and together to those after them.
constexpr int kStepColumns = 32;
static_assert(kMaxGridElems % kStepColumns == 0 && kPanelColumns % kStepColumns == 0);

// target[0..n) -= the errors of the columns before it times their rows of `feedback`, column after column.
void pass_on(const kernels::VectorKernels& vector, const float* error, int n_errors, const float* feedback,
             float* target, int64_t n) noexcept {
  kernels::ScaledRow rows[kStepColumns];
  for (int j = 0; j < n_errors; ++j) rows[j] = {feedback + j * kPanelColumns, -error[j]};
  vector.add_scaled_rows(target, n, rows, n_errors);
}

// What the columns of a block would be rounded from if none of them had to be rounded: the weights as GPTQ has updated
// them when it reaches the block. target [size] holds w_k less the errors of the columns before the block; those of the
// block's own columns, which compensate for the former, are still missing.
void expect_block(const kernels::VectorKernels& vector, const float* weights, const float* feedback, int size,
                  const float* target, float* out) noexcept {
  std::copy(target, target + size, out);
  for (int first = 0; first < size; first += kStepColumns) {
    const int last = std::min(size, first + kStepColumns);
    float error[kStepColumns];
    for (int j = first; j < last; ++j) {
      const float e = error[j - first] = out[j] - weights[j];
      const float* const u = feedback + j * kPanelColumns;
      for (int k = j + 1; k < last; ++k) out[k] -= e * u[k];
    }
    pass_on(vector, error, last - first, feedback + first * kPanelColumns + last, out + last, size - last);
  }
}

// Codes and errors of one block of one row, each error passed on to the columns of the panel after it. `target` and
// `feedback` begin at the block: target [panel end), feedback rows j hold U[j][k] at panel columns k, stride
// kPanelColumns.
void round_block(const kernels::VectorKernels& vector, const GridTraits& type, const BlockGrid& grid,
                 const float* weights, const float* feedback, int64_t n_after, float* target, float* error,
                 uint8_t* codes) noexcept {
  for (int first = 0; first < type.block_elems; first += kStepColumns) {
    const int last = std::min(type.block_elems, first + kStepColumns);
    for (int j = first; j < last; ++j) {
      const uint8_t code = nearest(type, grid, j, target[j]);
      const float e = grid_value(type, grid, j, code) - weights[j];
      codes[j] = code;
      error[j] = e;
      const float* const u = feedback + j * kPanelColumns;
      for (int k = j + 1; k < last; ++k) target[k] -= e * u[k];
    }
    pass_on(vector, error + first, last - first, feedback + first * kPanelColumns + last, target + last,
            n_after - last);
  }
}

// The square of U that lies inside of a panel, row j as U[j][k] for k in the panel.
void take_square(const FeedbackFactor& factor, ColumnPanel panel, std::vector<float>& square) {
  square.assign(static_cast<size_t>(kPanelColumns * kPanelColumns), 0.0f);
  for (int64_t k = 0; k < panel.size; ++k) {
    const float* const row = factor.row(panel.first + k) + panel.first;
    for (int64_t j = 0; j < k; ++j) square[static_cast<size_t>(j * kPanelColumns + k)] = row[j];
  }
}

}  // namespace

RowStrip::RowStrip(const GridTraits& type, const float* w, int64_t rows, int64_t columns)
    : grid(&type),
      n_rows(rows),
      n_in(columns),
      weights(w),
      error(static_cast<size_t>(rows * columns)),
      blocks(static_cast<size_t>(rows * (columns / type.block_elems))),
      codes(static_cast<size_t>(rows * columns)) {}

void round_nearest(const ops::Backend& backend, std::span<const float> importance, RowStrip& strip) noexcept {
  const GridTraits& type = *strip.grid;
  const int64_t n_in = strip.n_in;
  for_row_groups(backend, strip.n_rows, [&](int64_t begin, int64_t end) {
    for (int64_t c = 0; c < n_in; c += type.block_elems) {
      BlockGrid grids[kRowGrain];
      const float* const weighting = importance.empty() ? nullptr : importance.data() + c;
      ops::fit_blocks(backend, type.type, {strip.weights + begin * n_in + c, n_in, weighting, 0, end - begin}, grids);
      for (int64_t r = begin; r < end; ++r) {
        const BlockGrid& grid = grids[r - begin];
        strip.block(r, c) = grid;
        const float* const w = strip.weights + r * n_in + c;
        uint8_t* const codes = strip.codes.data() + r * n_in + c;
        nearest_codes(type, grid, w, codes);
        float* const error = strip.error.data() + r * n_in + c;
        for (int j = 0; j < type.block_elems; ++j) error[j] = grid_value(type, grid, j, codes[j]) - w[j];
      }
    }
  });
}

void round_gptq(const ops::Backend& backend, const FeedbackFactor& factor, std::span<const float> importance,
                RowStrip& strip) {
  const GridTraits& type = *strip.grid;
  const int64_t n_in = strip.n_in;
  AlignedBuffer<float> targets(static_cast<size_t>(strip.n_rows * kPanelColumns));  // [n_rows, kPanelColumns]
  LeadingProduct product(strip.n_rows, n_in);
  std::vector<float> square;
  for (int64_t index = 0; index < panel_count(n_in); ++index) {
    const ColumnPanel panel = column_panel(index, n_in);
    // Columns from the panel on have no errors yet that could be passed on.
    const float* const passed =
        product.multiply(backend, factor.row(panel.first), panel.size, strip.error.data(), strip.n_rows, panel.first);
    backend.pool->parallel_for(strip.n_rows, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const float* const w = strip.weights + r * n_in + panel.first;
        const float* const from_left = passed + r * panel.size;
        float* const target = targets.data() + r * kPanelColumns;
        for (int64_t k = 0; k < panel.size; ++k) target[k] = w[k] - from_left[k];
      }
    });
    take_square(factor, panel, square);
    for (int64_t c = 0; c < panel.size; c += type.block_elems) {
      const float* const feedback = square.data() + c * kPanelColumns + c;
      const float* const weighting = importance.empty() ? nullptr : importance.data() + panel.first + c;
      for_row_groups(backend, strip.n_rows, [&](int64_t begin, int64_t end) {
        float expected[kRowGrain * kMaxGridElems];
        BlockGrid grids[kRowGrain];
        for (int64_t r = begin; r < end; ++r) {
          expect_block(*backend.vector, strip.weights + r * n_in + panel.first + c, feedback, type.block_elems,
                       targets.data() + r * kPanelColumns + c, expected + (r - begin) * kMaxGridElems);
        }
        ops::fit_blocks(backend, type.type, {expected, kMaxGridElems, weighting, 0, end - begin}, grids);
        for (int64_t r = begin; r < end; ++r) {
          const int64_t at = r * n_in + panel.first + c;
          const BlockGrid& grid = grids[r - begin];
          strip.block(r, panel.first + c) = grid;
          round_block(*backend.vector, type, grid, strip.weights + at, feedback, panel.size - c,
                      targets.data() + r * kPanelColumns + c, strip.error.data() + at, strip.codes.data() + at);
        }
      });
    }
  }
}

double quadratic_loss(const ops::Backend& backend, const float* h, const float* e, int64_t n_rows, int64_t n_in) {
  LeadingProduct product(n_rows, n_in);
  double sum = 0.0;
  for (int64_t index = 0; index < panel_count(n_in); ++index) {
    const ColumnPanel panel = column_panel(index, n_in);
    // Pairs of columns count twice, once for each triangle of H.
    const float* const slopes =
        product.multiply(backend, h + panel.first * n_in, panel.size, e, n_rows, panel.end(), panel.first);
    for (int64_t r = 0; r < n_rows; ++r) {
      const float* const error = e + r * n_in + panel.first;
      for (int64_t j = 0; j < panel.size; ++j) {
        sum += static_cast<double>(slopes[r * panel.size + j]) * static_cast<double>(error[j]);
      }
    }
  }
  return sum;
}

double output_loss(const ops::Backend& backend, const float* x, int64_t n_x, const float* e, int64_t n_rows,
                   int64_t n_in) {
  if (n_x == 0) return 0.0;
  std::vector<float> outputs(static_cast<size_t>(n_rows * n_x));
  multiply_rows(backend, x, n_x, e, n_rows, n_in, outputs.data());
  double sum = 0.0;
  for (const float y : outputs) sum += static_cast<double>(y) * static_cast<double>(y);
  return sum;
}

void store_strip(const ops::Backend& backend, const RowStrip& strip, std::byte* out) noexcept {
  const GridTraits& type = *strip.grid;
  const size_t bytes = traits(type.type).block_bytes;
  backend.pool->parallel_for(strip.n_rows, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin * strip.n_blocks(); b < end * strip.n_blocks(); ++b) {
      const auto at = static_cast<size_t>(b);
      type.store(strip.blocks[at], strip.codes.data() + b * type.block_elems, out + at * bytes);
    }
  });
}

}  // namespace thimble
