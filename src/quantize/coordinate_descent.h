// Coordinate descent over the codes of a strip, scales as they are: every code becomes the best one given all others.
// As in QuantEase (Behdin et al. 2309.01885) and the sweeps after LDLQ of QuIP (Chee et al. 2307.13304).
#pragma once

#include <cstdint>
#include <vector>

#include "ops/ops.h"
#include "quantize/second_order.h"
#include "quantize/strip_products.h"

namespace thimble {

/// Lowers tr(E (H + ridge I) E^T). A sweep changes a few codes of a hundred, so the slopes E H are computed once and
/// then follow each change: a panel of columns takes in what has changed since it was last visited.
class CoordinateDescent {
 public:
  /// h [n_in, n_in] and `strip` must outlive it; nothing else may change the strip meanwhile. Errors: std::bad_alloc.
  CoordinateDescent(const ops::Backend& backend, const float* h, double ridge, RowStrip& strip);

  /// One cyclic sweep over all codes. Never raises the loss. Returns the number of codes that changed.
  /// Errors: std::bad_alloc.
  int64_t sweep();

  /// tr(E H E^T) as it is now, without the ridge. Errors: std::bad_alloc.
  double loss();
  /// The same before the first sweep.
  double first_loss();

 private:
  struct Change {
    int32_t column;
    float step;  // of the error
  };

  float* slopes_of(ColumnPanel panel, int64_t row) noexcept {
    return slopes_.data() + panel.first * strip_.n_rows + row * panel.size;
  }
  size_t at(int64_t index, int64_t row) const noexcept { return static_cast<size_t>(index * strip_.n_rows + row); }
  uint32_t n_changes(int64_t row) const noexcept {
    return static_cast<uint32_t>(changes_[static_cast<size_t>(row)].size());
  }
  void begin(int64_t index);
  void catch_up(int64_t index, int64_t row) noexcept;
  int64_t visit(int64_t index, int64_t row) noexcept;
  void improve_block(ColumnPanel panel, int64_t row, int64_t k, float* slope) noexcept;
  void improve(ColumnPanel panel, int64_t row, int64_t k, const BlockGrid& grid, float* slope) noexcept;

  const ops::Backend& backend_;
  const float* h_;
  float ridge_;
  RowStrip& strip_;
  float safe_shift_;              // in levels: a code whose best value is no farther away stays
  std::vector<float> curvature_;  // [n_in] the diagonal of H + ridge I
  bool started_ = false;
  std::vector<float> slopes_;                 // E H: panel after panel, each [n_rows, panel.size]
  std::vector<std::vector<Change>> changes_;  // of each row, in order
  std::vector<uint32_t> taken_;               // [n_panels, n_rows] changes that the panel's slopes have in them
  std::vector<uint32_t> seen_;                // [n_panels, n_rows] changes before its last visit
  std::vector<double> gain_;                  // [n_rows] what all changes have added to the loss
};

}  // namespace thimble
