#include "quantize/coordinate_descent.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "kernels/vector_kernel.h"

namespace thimble {

namespace {

constexpr uint32_t kNeverSeen = ~uint32_t{0};
constexpr int64_t kChangesAtOnce = 64;
// Of a half gap between levels: what is surely rounded back to where it was. The rest is for the roundings of
// nearest().
constexpr float kSafeShare = 0.99f;

float smallest_gap(const GridTraits& type) noexcept {
  float gap = type.n_codes > 1 ? type.levels[1] - type.levels[0] : 0.0f;
  for (int c = 2; c < type.n_codes; ++c) gap = std::min(gap, type.levels[c] - type.levels[c - 1]);
  return gap;
}

}  // namespace

CoordinateDescent::CoordinateDescent(const ops::Backend& backend, const float* h, double ridge, RowStrip& strip)
    : backend_(backend),
      h_(h),
      ridge_(static_cast<float>(ridge)),
      strip_(strip),
      safe_shift_(0.5f * kSafeShare * smallest_gap(*strip.grid)),
      curvature_(static_cast<size_t>(strip.n_in)),
      slopes_(static_cast<size_t>(strip.n_rows * strip.n_in)),
      changes_(static_cast<size_t>(strip.n_rows)),
      taken_(static_cast<size_t>(panel_count(strip.n_in) * strip.n_rows)),
      seen_(taken_.size(), kNeverSeen),
      gain_(static_cast<size_t>(strip.n_rows)) {
  for (int64_t i = 0; i < strip.n_in; ++i) curvature_[static_cast<size_t>(i)] = h[i * strip.n_in + i] + ridge_;
}

// Slopes of a panel from the errors as they are, which hold what the panels before it have changed.
void CoordinateDescent::begin(int64_t index) {
  const ColumnPanel panel = column_panel(index, strip_.n_in);
  multiply_rows(backend_, h_ + panel.first * strip_.n_in, panel.size, strip_.error.data(), strip_.n_rows, strip_.n_in,
                slopes_of(panel, 0));
  for (int64_t r = 0; r < strip_.n_rows; ++r) taken_[at(index, r)] = n_changes(r);
}

void CoordinateDescent::catch_up(int64_t index, int64_t row) noexcept {
  const ColumnPanel panel = column_panel(index, strip_.n_in);
  const std::vector<Change>& changes = changes_[static_cast<size_t>(row)];
  uint32_t& taken = taken_[at(index, row)];
  float* const slope = slopes_of(panel, row);
  kernels::ScaledRow rows[kChangesAtOnce];
  while (taken < changes.size()) {
    int64_t n = 0;
    for (; n < kChangesAtOnce && taken < changes.size(); ++n, ++taken) {
      const Change& change = changes[taken];
      rows[n] = {h_ + change.column * strip_.n_in + panel.first, change.step};
    }
    backend_.vector->add_scaled_rows(slope, panel.size, rows, n);
  }
}

// Takes the best code of column k of the panel, an element of the block `grid`; slope [panel.size] is the row's.
void CoordinateDescent::improve(ColumnPanel panel, int64_t row, int64_t k, const BlockGrid& grid,
                                float* slope) noexcept {
  const GridTraits& type = *strip_.grid;
  const int64_t column = panel.first + k;
  const float curvature = curvature_[static_cast<size_t>(column)];
  if (!(curvature > 0.0f)) return;  // a channel that was never active
  const int element = static_cast<int>(column % type.block_elems);
  const auto weight = static_cast<size_t>(row * strip_.n_in + column);
  float& error = strip_.error[weight];
  uint8_t& code = strip_.codes[weight];
  const float damped = slope[k] + ridge_ * error;
  const float value = grid_value(type, grid, element, code);
  const uint8_t better = nearest(type, grid, element, value - damped / curvature);
  if (better == code) return;
  const float step = grid_value(type, grid, element, better) - value;
  // The slope is rounded, so the code it names may be no better; accepting such ones a sweep might never end.
  if (!(step * (2.0f * damped + step * curvature) < 0.0f)) return;
  const float* const h_row = h_ + column * strip_.n_in + panel.first;
  gain_[static_cast<size_t>(row)] +=
      static_cast<double>(step) *
      (2.0 * static_cast<double>(slope[k]) + static_cast<double>(step) * static_cast<double>(h_row[k]));
  code = better;
  error += step;
  changes_[static_cast<size_t>(row)].push_back({static_cast<int32_t>(column), step});
  const kernels::ScaledRow change = {h_row, step};
  backend_.vector->add_scaled_rows(slope, panel.size, &change, 1);
}

// The block that begins at column k of the panel. Most codes stay: those that would move by less than half a gap need
// no search.
void CoordinateDescent::improve_block(ColumnPanel panel, int64_t row, int64_t k, float* slope) noexcept {
  const GridTraits& type = *strip_.grid;
  const BlockGrid& grid = strip_.block(row, panel.first + k);
  const float* const error = strip_.error.data() + row * strip_.n_in + panel.first;
  const float* const curvature = curvature_.data() + panel.first;
  for (int s = 0; s * type.sub_elems < type.block_elems; ++s) {
    const float shift = safe_shift_ * std::fabs(grid.scale[s]);
    const int64_t end = k + type.sub_elems;
    for (; k < end; ++k) {
      if (std::fabs(slope[k] + ridge_ * error[k]) <= shift * curvature[k]) continue;
      improve(panel, row, k, grid, slope);
    }
  }
}

int64_t CoordinateDescent::visit(int64_t index, int64_t row) noexcept {
  uint32_t& seen = seen_[at(index, row)];
  // Nothing has changed since this panel found nothing to change.
  if (seen == n_changes(row)) return 0;
  seen = n_changes(row);
  catch_up(index, row);
  const ColumnPanel panel = column_panel(index, strip_.n_in);
  for (int64_t k = 0; k < panel.size; k += strip_.grid->block_elems) {
    improve_block(panel, row, k, slopes_of(panel, row));
  }
  taken_[at(index, row)] = n_changes(row);
  return n_changes(row) - seen;
}

int64_t CoordinateDescent::sweep() {
  // Threads below must not run out of memory.
  for (std::vector<Change>& changes : changes_) changes.reserve(changes.size() + static_cast<size_t>(strip_.n_in));
  std::atomic<int64_t> n_changed{0};
  for (int64_t index = 0; index < panel_count(strip_.n_in); ++index) {
    if (!started_) begin(index);
    backend_.pool->parallel_for(strip_.n_rows, kRowGrain, [&](int64_t begin, int64_t end) {
      int64_t changed = 0;
      for (int64_t r = begin; r < end; ++r) changed += visit(index, r);
      n_changed.fetch_add(changed, std::memory_order_relaxed);
    });
  }
  started_ = true;
  return n_changed.load();
}

double CoordinateDescent::loss() {
  const int64_t n_panels = panel_count(strip_.n_in);
  for (int64_t index = 0; !started_ && index < n_panels; ++index) begin(index);
  started_ = true;
  std::vector<double> losses(static_cast<size_t>(strip_.n_rows));
  backend_.pool->parallel_for(strip_.n_rows, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t index = 0; index < n_panels; ++index) {
        catch_up(index, r);
        const ColumnPanel panel = column_panel(index, strip_.n_in);
        const float* const slope = slopes_of(panel, r);
        const float* const error = strip_.error.data() + r * strip_.n_in + panel.first;
        double& sum = losses[static_cast<size_t>(r)];
        for (int64_t j = 0; j < panel.size; ++j) sum += static_cast<double>(slope[j]) * static_cast<double>(error[j]);
      }
    }
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

double CoordinateDescent::first_loss() {
  return loss() - std::accumulate(gain_.begin(), gain_.end(), 0.0);
}

}  // namespace thimble
