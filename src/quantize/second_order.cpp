// Panels of columns: what lies outside of a panel enters by one matrix product, what lies inside column by column.
#include "quantize/second_order.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "ops/round.h"

namespace thimble {

namespace {

// Columns of a panel, a multiple of every block. Small: work inside of a panel is sequential; large: products of few
// output columns leave the matrix kernels idle.
constexpr int64_t kPanel = 256;
constexpr int64_t kRowGrain = 16;  // blocks that one call of a scale search holds in its lanes

/// What a parallel loop over rows does inside of a panel.
struct Panel {
  int64_t first;  // column
  int64_t size;
};

// out [n_x, n_w] = x [n_x, k] w [n_w, k]^T.
void multiply(const ops::Backend& backend, const float* w, int64_t n_w, const float* x, int64_t n_x, int64_t k,
              float* out) {
  const auto bytes = static_cast<size_t>(n_w * k) * sizeof(float);
  const TensorView view{TensorType::f32, {k, n_w, 1, 1}, {reinterpret_cast<const std::byte*>(w), bytes}};
  const ops::Weight weight = ops::prepare_weight(view, backend.isa);
  ops::ActivationBuffer unused(1, 1);
  const ops::MatmulOutput output{&weight, out, nullptr};
  ops::matmul(backend, {&output, 1}, x, n_x, unused);
}

// body(begin, end) over the rows, at most kRowGrain at once also where one thread gets all of them.
template <typename Body>
void for_row_groups(const ops::Backend& backend, int64_t n_rows, const Body& body) noexcept {
  backend.pool->parallel_for(n_rows, kRowGrain, [&](int64_t begin, int64_t end) {
    for (; begin < end; begin += kRowGrain) body(begin, std::min(end, begin + kRowGrain));
  });
}

BlockGrid* block_of(RowStrip& strip, int64_t row, int64_t column) noexcept {
  return strip.blocks.data() + row * strip.n_blocks() + column / strip.grid->block_elems;
}

// What the columns of a block would be rounded from if none of them had to be rounded: the weights as GPTQ has updated
// them when it reaches the block. target [size] holds w_k less the errors of the columns before the block; those of the
// block's own columns, which compensate for the former, are still missing.
void expect_block(const float* weights, const float* feedback, int size, const float* target, float* out) noexcept {
  std::copy(target, target + size, out);
  for (int j = 0; j < size; ++j) {
    const float e = out[j] - weights[j];
    const float* const u = feedback + j * kPanel;
    for (int k = j + 1; k < size; ++k) out[k] -= e * u[k];
  }
}

// Codes and errors of one block of one row, each error passed on to the columns of the panel after it. `target` and
// `feedback` begin at the block: target [panel end), feedback rows j hold U[j][k] at panel columns k, stride kPanel.
void round_block(const GridTraits& type, const BlockGrid& grid, const float* weights, const float* feedback,
                 int64_t n_after, float* target, float* error, uint8_t* codes) noexcept {
  for (int j = 0; j < type.block_elems; ++j) {
    const uint8_t code = nearest(type, grid, j, target[j]);
    const float e = grid_value(type, grid, j, code) - weights[j];
    codes[j] = code;
    error[j] = e;
    const float* const u = feedback + j * kPanel;
    for (int64_t k = j + 1; k < n_after; ++k) target[k] -= e * u[k];
  }
}

// The square of U that lies inside of a panel, row j as U[j][k] for k in the panel.
void take_square(const FeedbackFactor& factor, Panel panel, std::vector<float>& square) {
  square.assign(static_cast<size_t>(kPanel * kPanel), 0.0f);
  for (int64_t k = 0; k < panel.size; ++k) {
    const float* const row = factor.row(panel.first + k) + panel.first;
    for (int64_t j = 0; j < k; ++j) square[static_cast<size_t>(j * kPanel + k)] = row[j];
  }
}

// The best code of every column of a panel in turn; slope [panel.size] holds the row's E H and is kept up to date.
int64_t descend_row(const float* h, float ridge, Panel panel, int64_t row, float* slope, RowStrip& strip) noexcept {
  const GridTraits& type = *strip.grid;
  int64_t n_changed = 0;
  for (int64_t k = 0; k < panel.size; ++k) {
    const int64_t column = panel.first + k;
    const float* const h_row = h + column * strip.n_in + panel.first;
    const float curvature = h_row[k] + ridge;
    if (!(curvature > 0.0f)) continue;  // a channel that was never active
    const BlockGrid& grid = *block_of(strip, row, column);
    const int element = static_cast<int>(column % type.block_elems);
    const auto at = static_cast<size_t>(row * strip.n_in + column);
    const float value = grid_value(type, grid, element, strip.codes[at]);
    const float damped = slope[k] + ridge * strip.error[at];
    const uint8_t better = nearest(type, grid, element, value - damped / curvature);
    if (better == strip.codes[at]) continue;
    const float step = grid_value(type, grid, element, better) - value;
    // The slope is rounded, so the code it names may be no better; accepting such ones a sweep might never end.
    if (!(step * (2.0f * damped + step * curvature) < 0.0f)) continue;
    strip.codes[at] = better;
    strip.error[at] += step;
    ++n_changed;
    for (int64_t j = k; j < panel.size; ++j) slope[j] += step * h_row[j];
  }
  return n_changed;
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
        *block_of(strip, r, c) = grid;
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
  AlignedBuffer<float> targets(static_cast<size_t>(strip.n_rows * kPanel));  // [n_rows, kPanel]
  std::vector<float> passed(static_cast<size_t>(strip.n_rows * kPanel));     // [n_rows, panel.size]
  std::vector<float> square;
  std::fill_n(strip.error.data(), strip.error.size(), 0.0f);  // columns not yet reached have no error to pass on
  for (Panel panel = {0, 0}; panel.first < n_in; panel.first += kPanel) {
    panel.size = std::min(kPanel, n_in - panel.first);
    multiply(backend, factor.row(panel.first), panel.size, strip.error.data(), strip.n_rows, n_in, passed.data());
    backend.pool->parallel_for(strip.n_rows, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const float* const w = strip.weights + r * n_in + panel.first;
        const float* const from_left = passed.data() + r * panel.size;
        float* const target = targets.data() + r * kPanel;
        for (int64_t k = 0; k < panel.size; ++k) target[k] = w[k] - from_left[k];
      }
    });
    take_square(factor, panel, square);
    for (int64_t c = 0; c < panel.size; c += type.block_elems) {
      const float* const feedback = square.data() + c * kPanel + c;
      const float* const weighting = importance.empty() ? nullptr : importance.data() + panel.first + c;
      for_row_groups(backend, strip.n_rows, [&](int64_t begin, int64_t end) {
        float expected[kRowGrain * kMaxGridElems];
        BlockGrid grids[kRowGrain];
        for (int64_t r = begin; r < end; ++r) {
          expect_block(strip.weights + r * n_in + panel.first + c, feedback, type.block_elems,
                       targets.data() + r * kPanel + c, expected + (r - begin) * kMaxGridElems);
        }
        ops::fit_blocks(backend, type.type, {expected, kMaxGridElems, weighting, 0, end - begin}, grids);
        for (int64_t r = begin; r < end; ++r) {
          const int64_t at = r * n_in + panel.first + c;
          const BlockGrid& grid = grids[r - begin];
          *block_of(strip, r, panel.first + c) = grid;
          round_block(type, grid, strip.weights + at, feedback, panel.size - c, targets.data() + r * kPanel + c,
                      strip.error.data() + at, strip.codes.data() + at);
        }
      });
    }
  }
}

int64_t descend(const ops::Backend& backend, const float* h, double ridge, RowStrip& strip) {
  const int64_t n_in = strip.n_in;
  std::vector<float> slopes(static_cast<size_t>(strip.n_rows * kPanel));  // [n_rows, panel.size]: E H
  std::atomic<int64_t> n_changed{0};
  for (Panel panel = {0, 0}; panel.first < n_in; panel.first += kPanel) {
    panel.size = std::min(kPanel, n_in - panel.first);
    multiply(backend, h + panel.first * n_in, panel.size, strip.error.data(), strip.n_rows, n_in, slopes.data());
    backend.pool->parallel_for(strip.n_rows, kRowGrain, [&](int64_t begin, int64_t end) {
      int64_t changed = 0;
      for (int64_t r = begin; r < end; ++r) {
        changed += descend_row(h, static_cast<float>(ridge), panel, r, slopes.data() + r * panel.size, strip);
      }
      n_changed.fetch_add(changed, std::memory_order_relaxed);
    });
  }
  return n_changed.load();
}

double quadratic_loss(const ops::Backend& backend, const float* h, const float* e, int64_t n_rows, int64_t n_in) {
  std::vector<float> product(static_cast<size_t>(n_rows * n_in));
  multiply(backend, h, n_in, e, n_rows, n_in, product.data());
  double sum = 0.0;
  for (size_t i = 0; i < product.size(); ++i) sum += static_cast<double>(product[i]) * static_cast<double>(e[i]);
  return sum;
}

double output_loss(const ops::Backend& backend, const float* x, int64_t n_x, const float* e, int64_t n_rows,
                   int64_t n_in) {
  if (n_x == 0) return 0.0;
  std::vector<float> outputs(static_cast<size_t>(n_rows * n_x));
  multiply(backend, x, n_x, e, n_rows, n_in, outputs.data());
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
