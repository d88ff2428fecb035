// The matmul that every integer kernel shares, written against a vocabulary (simd_<isa>.h, included before this
// header).
//
// A panel is kLanes weight rows x 256 elements, unpacked once and multiplied by every column:
//   w     [64 steps][kLanes rows][4 bytes]: four neighbouring elements of each row, what one dot-product
//         instruction takes; a column supplies the same four of its values to all lanes
//   sums, scales and results hold one row per lane, so nothing is ever added across lanes
// With one column the panel is never stored: its steps are multiplied as they are unpacked (multiply_vector).
// The integer part is exact. Float operations are those of scalar_matmul.h in the same order (no fused operations), so
// results are bit-equal to the scalar kernel and do not depend on n_cols or on the layout of the weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"
#include "kernels/panel_reader.h"

namespace thimble::kernels {
namespace {

// Columns per pass: their sums take 8 KiB (16 lanes), their activations of one group 40 KiB.
constexpr int64_t kMaxColumns = 128;

// Results of a pass: of each panel kMaxColumns columns of kLanes rows.
inline constexpr int64_t kPassResults = kMaxColumns * kLanes;

// ---- many columns: the loop over columns, rows and groups

// How the k dimension falls into groups of 256, the last of which may have fewer blocks.
template <class Kernel>
struct Groups {
  static constexpr int64_t kBlocks = kGroup / Kernel::kElements;
  int64_t n_blocks, count;
  explicit Groups(const MatmulArgs& a) noexcept
      : n_blocks(a.k / Kernel::kElements), count((n_blocks + kBlocks - 1) / kBlocks) {}
  int64_t blocks_of(int64_t group) const noexcept {
    const int64_t left = n_blocks - group * kBlocks;
    return left < kBlocks ? left : kBlocks;
  }
};

inline const ActivationGroup* activations(const MatmulArgs& a, int64_t column) noexcept {
  return reinterpret_cast<const ActivationGroup*>(a.x + static_cast<size_t>(column) * a.x_stride);
}

// Columns of activations that share a pass over panels.
struct Columns {
  int64_t begin, n_cols;
};

// What is multiplied: one group of some panels with some columns.
template <class Kernel>
struct GroupProduct {
  const MatmulArgs& a;
  const typename Kernel::Panel* panels;
  Columns columns;
  int64_t group, n_blocks;
  float* acc;
};

// Hints that the first-level cache will want the activations of the next tile: each column's are 320 bytes, too short
// for hardware prefetchers. Past the last column it is only a wasted hint. 1 to 3 % of prefill on Zen 4.
inline void ask_for_activations(const MatmulArgs& a, int64_t column, int64_t n_cols, int64_t group) noexcept {
  for (int64_t c = column; c < column + n_cols; ++c) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(a.x) + static_cast<size_t>(c) * a.x_stride +
                              static_cast<size_t>(group) * sizeof(ActivationGroup);
    for (uintptr_t line = 0; line < sizeof(ActivationGroup); line += 64) {
      __builtin_prefetch(reinterpret_cast<const void*>(address + line), 0, 3);  // NOLINT(performance-no-int-to-ptr)
    }
  }
}

// Tiles of kCols columns from `c` on, then narrower ones.
template <class Kernel, int kPanels, int kCols>
inline void multiply_tiles(const GroupProduct<Kernel>& p, int64_t c) noexcept {
  for (; c + kCols <= p.columns.n_cols; c += kCols) {
    const ActivationGroup* x[kCols];
    for (int i = 0; i < kCols; ++i) x[i] = activations(p.a, p.columns.begin + c + i) + p.group;
    ask_for_activations(p.a, p.columns.begin + c + kCols, kCols, p.group);
    Kernel::template multiply<kPanels, kCols>(p.panels, p.n_blocks, x, p.acc + kLanes * c);
  }
  if constexpr (kCols > 1) {
    constexpr int kNarrower = kCols > 4 ? 4 : kCols / 2;
    if (c < p.columns.n_cols) multiply_tiles<Kernel, kPanels, kNarrower>(p, c);
  }
}

inline void store_results(const MatmulArgs& a, int64_t row, int64_t column, int64_t n_cols, const float* acc) noexcept {
  for (int64_t c = 0; c < n_cols; ++c) {
    float* out = a.out + static_cast<size_t>(column + c) * a.out_stride + static_cast<size_t>(row);
    if (a.n_rows - row >= kLanes) {
      store_floats_unaligned(out, load_floats(acc + kLanes * c));
    } else {
      for (int64_t r = 0; r < a.n_rows - row; ++r) out[r] = acc[kLanes * c + r];
    }
  }
}

// What results of a panel begin with: zeroes, or (the inverse of store_results) what earlier parts of k came to.
inline void begin_results(const MatmulArgs& a, int64_t row, const Columns& columns, bool zero, float* acc) noexcept {
  for (int64_t c = 0; c < columns.n_cols; ++c) {
    store_floats(acc + kLanes * c, splat_float(0.0f));
    if (zero) continue;
    const float* out = a.out + static_cast<size_t>(columns.begin + c) * a.out_stride + static_cast<size_t>(row);
    const int64_t left = a.n_rows - row;
    for (int64_t r = 0; r < (left < kLanes ? left : kLanes); ++r) acc[kLanes * c + r] = out[r];
  }
}

// kPanels panels of rows, groups [begin, end) of k.
template <class Kernel, class Reader, int kPanels>
inline void multiply_rows(const MatmulArgs& a, int64_t row, const Columns& columns, int64_t begin,
                          int64_t end) noexcept {
  alignas(64) float acc[kPanels * kPassResults];
  typename Kernel::Panel panels[kPanels];
  Reader in[kPanels];
  for (int i = 0; i < kPanels; ++i) {
    in[i].begin_rows(a, row + kLanes * i);
    begin_results(a, row + kLanes * i, columns, begin == 0, acc + kPassResults * i);
  }
  const Groups<Kernel> groups(a);
  for (int64_t group = begin; group < end; ++group) {
    const int64_t here = groups.blocks_of(group);
    for (int i = 0; i < kPanels; ++i) {
      in[i].begin_group(group, groups.count);
      Kernel::expand(in[i], group, here, panels[i]);
    }
    multiply_tiles<Kernel, kPanels, kColumns>({a, panels, columns, group, here, acc}, 0);
  }
  for (int i = 0; i < kPanels; ++i) {
    store_results(a, row + kLanes * i, columns.begin, columns.n_cols, acc + kPassResults * i);
  }
}

// Groups of one pass over all rows, at most: the activations of kMaxColumns columns, 40 KiB a group, stay in the
// second-level cache while the rows go by.
constexpr int64_t kGroupsPerPass = 12;

template <class Kernel, class Reader>
inline void multiply_columns(const MatmulArgs& a) noexcept {
  const int64_t n_groups = Groups<Kernel>(a).count;
  // Passes of one size: each reads and writes all results.
  const int64_t n_passes = (n_groups + kGroupsPerPass - 1) / kGroupsPerPass;
  const int64_t per_pass = n_passes > 0 ? (n_groups + n_passes - 1) / n_passes : 1;
  for (int64_t column = 0; column < a.n_cols; column += kMaxColumns) {
    const Columns columns = {column, a.n_cols - column < kMaxColumns ? a.n_cols - column : kMaxColumns};
    for (int64_t begin = 0; begin < n_groups; begin += per_pass) {
      const int64_t end = begin + per_pass < n_groups ? begin + per_pass : n_groups;
      int64_t row = 0;
      if constexpr (kPanelsPerPass == 2) {
        for (; row + kLanes < a.n_rows; row += 2 * kLanes)
          multiply_rows<Kernel, Reader, 2>(a, row, columns, begin, end);
      }
      for (; row < a.n_rows; row += kLanes) multiply_rows<Kernel, Reader, 1>(a, row, columns, begin, end);
    }
  }
}

// ---- one column: each step is multiplied as soon as it is unpacked, so that a weight goes from memory through
// registers into a sum; the same arithmetic

template <class Kernel, class Reader>
inline void multiply_vector(const MatmulArgs& a) noexcept {
  const Groups<Kernel> groups(a);
  const ActivationGroup* x = activations(a, 0);
  for (int64_t row = 0; row < a.n_rows; row += kLanes) {
    Reader in(a, row);
    Floats acc = splat_float(0.0f);
    for (int64_t group = 0; group < groups.count; ++group) {
      in.begin_group(group, groups.count);
      acc = Kernel::multiply_one(in, group, groups.blocks_of(group), x[group], acc);
    }
    alignas(64) float result[kLanes];
    store_floats(result, acc);
    store_results(a, row, 0, 1, result);
  }
}

/// The kernel: any layout of the weights, any number of columns.
template <class Kernel>
inline void matmul_panels(const MatmulArgs& a) noexcept {
  using Packed = PackedReader<typename Kernel::Type>;
  using Stock = StockReader<typename Kernel::Type>;
  if constexpr (kLanes == 16) {
    using FarAhead = PackedReader<typename Kernel::Type, Reading::far_ahead>;
    if (a.n_cols == 1 && a.packed && a.prefetch) return multiply_vector<Kernel, FarAhead>(a);
  }
  if (a.n_cols == 1) {
    a.packed ? multiply_vector<Kernel, Packed>(a) : multiply_vector<Kernel, Stock>(a);
  } else {
    a.packed ? multiply_columns<Kernel, Packed>(a) : multiply_columns<Kernel, Stock>(a);
  }
}

}  // namespace
}  // namespace thimble::kernels
