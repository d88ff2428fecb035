// The matmul of F32, F16 and BF16 weights on ARM, written against simd_float_neon.h (included before this header).
// Weights are widened and turned, so that a register holds one element of kWidth rows and nothing is added across
// lanes. Sums are those of scalar_float.h: kFloatChunk fused multiply-adds in order of k, then the sum of such parts;
// results are bit-equal to the scalar kernel and do not depend on n_cols or n_rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"

namespace thimble::kernels {
namespace {

static_assert(kWidth == 4 && kFloatChunk % kWidth == 0);

// Columns whose activations stay in the second-level cache while the rows go by: 512 KiB at k = 2048.
constexpr int64_t kColumnBlock = 64;
constexpr int kPanelVecs = 2;  // of rows, where a widened chunk serves many columns
constexpr int kPanelRows = kPanelVecs * kWidth;
constexpr int kLoneVecs = 4;  // of rows, where it serves one

struct ElementF32 {
  using Bits = float;
  static Vec load(const float* p) noexcept { return vec_load(p); }
  static Vec load_part(const float* p, int64_t n) noexcept { return vec_load_part(p, n); }
};
struct ElementF16 {
  using Bits = uint16_t;
  static Vec load(const uint16_t* p) noexcept { return vec_load_f16(p); }
  static Vec load_part(const uint16_t* p, int64_t n) noexcept { return vec_load_f16_part(p, n); }
};
struct ElementBf16 {
  using Bits = uint16_t;
  static Vec load(const uint16_t* p) noexcept { return vec_load_bf16(p); }
  static Vec load_part(const uint16_t* p, int64_t n) noexcept { return vec_load_bf16_part(p, n); }
};

// Where a tile finds four elements of each of its rows: get(k, n, w) gives w[i][v], element k + i of rows v * kWidth
// and on; elements from k + n on are zero. What is beyond the last row is the last row, or the last panel, again.

template <class Element, int kVecs>
struct StockRows {
  using Bits = typename Element::Bits;
  const Bits* rows[kVecs * kWidth];

  StockRows(const MatmulArgs& a, int64_t row) noexcept {
    for (int64_t r = 0; r < kVecs * kWidth; ++r) {
      const int64_t at = row + r < a.n_rows ? row + r : a.n_rows - 1;
      rows[r] = reinterpret_cast<const Bits*>(a.weights + static_cast<size_t>(at) * a.weight_stride);
    }
  }
  void get(int64_t k, int64_t n, Vec (&w)[kWidth][kVecs]) const noexcept {
    for (int v = 0; v < kVecs; ++v) {
      Vec rows_of[kWidth];
      for (int r = 0; r < kWidth; ++r) {
        const Bits* const p = rows[v * kWidth + r] + k;
        rows_of[r] = n == kWidth ? Element::load(p) : Element::load_part(p, n);
      }
      vec_transpose(rows_of);
      for (int i = 0; i < kWidth; ++i) w[i][v] = rows_of[i];
    }
  }
  // Many rows at once are more streams than a core follows by itself. Addresses, not pointers: they may lie past the
  // end of the weights.
  void prefetch(int64_t k) const noexcept {
    for (const Bits* row : rows) {
      const uintptr_t chunk = reinterpret_cast<uintptr_t>(row) + static_cast<size_t>(k) * sizeof(Bits);
      for (uintptr_t line = 0; line < kFloatChunk * sizeof(Bits); line += 64) {
        __builtin_prefetch(reinterpret_cast<const void*>(chunk + line));  // NOLINT(performance-no-int-to-ptr)
      }
    }
  }
};

// Panels of packed_layout.h: kWidth rows, element after element.
template <class Element, int kVecs>
struct PackedRows {
  using Bits = typename Element::Bits;
  const Bits* panels[kVecs];

  PackedRows(const MatmulArgs& a, int64_t row) noexcept {
    for (int64_t v = 0; v < kVecs; ++v) {
      const int64_t at = row + v * kWidth < a.n_rows ? row / kWidth + v : (a.n_rows - 1) / kWidth;
      panels[v] = reinterpret_cast<const Bits*>(a.weights + static_cast<size_t>(at) * a.weight_stride);
    }
  }
  void get(int64_t k, int64_t n, Vec (&w)[kWidth][kVecs]) const noexcept {
    for (int64_t i = 0; i < kWidth; ++i) {
      for (int v = 0; v < kVecs; ++v) {
        w[i][v] = i < n ? Element::load(panels[v] + (k + i) * kWidth) : vec_splat(0.0f);
      }
    }
  }
  void prefetch(int64_t) const noexcept {}
};

// A chunk of kPanelRows rows, widened: [elements, kPanelRows].
struct PanelSource {
  float values[kFloatChunk * kPanelRows];
  int64_t first = 0;

  template <class Rows>
  void widen(const Rows& rows, int64_t begin, int64_t end) noexcept {
    first = begin;
    for (int64_t k = begin; k < end; k += kWidth) {
      Vec w[kWidth][kPanelVecs];
      rows.get(k, end - k < kWidth ? end - k : kWidth, w);
      for (int i = 0; i < kWidth; ++i) {
        for (int v = 0; v < kPanelVecs; ++v) {
          vec_store(values + (k - begin + i) * kPanelRows + static_cast<int64_t>(v) * kWidth, w[i][v]);
        }
      }
    }
  }
  void get(int64_t k, int64_t, Vec (&w)[kWidth][kPanelVecs]) const noexcept {
    const float* const p = values + (k - first) * kPanelRows;
    for (int i = 0; i < kWidth; ++i) {
      for (int v = 0; v < kPanelVecs; ++v) w[i][v] = vec_load(p + (i * kPanelVecs + v) * kWidth);
    }
  }
};

// parts[c][v]: the products of elements [begin, end), one chunk at most, added up in order.
template <int kCols, int kVecs, class Source>
inline void multiply_chunk(const Source& source, const float* const (&x)[kCols], int64_t begin, int64_t end,
                           Vec (&parts)[kCols][kVecs]) noexcept {
  for (auto& column : parts) {
    for (Vec& part : column) part = vec_splat(0.0f);
  }
  Vec w[kWidth][kVecs];
  int64_t k = begin;
  for (; k + kWidth <= end; k += kWidth) {
    source.get(k, kWidth, w);
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      const Vec values = vec_load(x[c] + k);
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) {
        parts[c][v] = vec_fma_lane<0>(w[0][v], values, parts[c][v]);
        parts[c][v] = vec_fma_lane<1>(w[1][v], values, parts[c][v]);
        parts[c][v] = vec_fma_lane<2>(w[2][v], values, parts[c][v]);
        parts[c][v] = vec_fma_lane<3>(w[3][v], values, parts[c][v]);
      }
    }
  }
  if (k == end) return;
  source.get(k, end - k, w);
  for (int c = 0; c < kCols; ++c) {
    const Vec values = vec_load_part(x[c] + k, end - k);
    for (int v = 0; v < kVecs; ++v) {
      // Zero times zero, added where the row has ended, changes nothing.
      parts[c][v] = vec_fma_lane<0>(w[0][v], values, parts[c][v]);
      parts[c][v] = vec_fma_lane<1>(w[1][v], values, parts[c][v]);
      parts[c][v] = vec_fma_lane<2>(w[2][v], values, parts[c][v]);
    }
  }
}

inline int64_t chunk_end(int64_t begin, int64_t k) noexcept {
  return begin + kFloatChunk < k ? begin + kFloatChunk : k;
}

inline const float* column_of(const MatmulArgs& a, int64_t column) noexcept {
  return reinterpret_cast<const float*>(a.x + static_cast<size_t>(column) * a.x_stride);
}

inline void store_rows(const MatmulArgs& a, int64_t column, int64_t row, const float* sums, int64_t n) noexcept {
  float* const out = a.out + static_cast<size_t>(column) * a.out_stride + static_cast<size_t>(row);
  const int64_t left = a.n_rows - row;
  __builtin_memcpy(out, sums, static_cast<size_t>(left < n ? left : n) * sizeof(float));
}

// One column: every weight is used once, so nothing is kept of it.
template <class Rows>
inline void multiply_lone_column(const MatmulArgs& a, int64_t row, int64_t column) noexcept {
  const Rows rows(a, row);
  const float* const x[1] = {column_of(a, column)};
  Vec sums[kLoneVecs], parts[1][kLoneVecs];
  for (Vec& sum : sums) sum = vec_splat(0.0f);
  for (int64_t k = 0; k < a.k; k += kFloatChunk) {
    rows.prefetch(k + kFloatChunk);
    multiply_chunk(rows, x, k, chunk_end(k, a.k), parts);
    for (int v = 0; v < kLoneVecs; ++v) sums[v] = vec_add(sums[v], parts[0][v]);
  }
  float values[kLoneVecs * kWidth];
  for (int v = 0; v < kLoneVecs; ++v) vec_store(values + static_cast<int64_t>(v) * kWidth, sums[v]);
  store_rows(a, column, row, values, kLoneVecs * kWidth);
}

// sums [kCols, kPanelRows] += the chunk's products of columns [column, column + kCols).
template <int kCols>
inline void add_panel(const MatmulArgs& a, const PanelSource& panel, int64_t begin, int64_t column,
                      float* sums) noexcept {
  const float* x[kCols];
  for (int c = 0; c < kCols; ++c) x[c] = column_of(a, column + c);
  Vec parts[kCols][kPanelVecs];
  multiply_chunk<kCols>(panel, x, begin, chunk_end(begin, a.k), parts);
  for (int c = 0; c < kCols; ++c) {
    for (int v = 0; v < kPanelVecs; ++v) {
      float* const sum = sums + (static_cast<int64_t>(c) * kPanelVecs + v) * kWidth;
      vec_store(sum, vec_add(vec_load(sum), parts[c][v]));
    }
  }
}

template <class Rows>
inline void multiply_columns(const MatmulArgs& a, int64_t row, int64_t column, int64_t end) noexcept {
  const Rows rows(a, row);
  PanelSource panel;
  float sums[kColumnBlock * kPanelRows] = {};
  for (int64_t k = 0; k < a.k; k += kFloatChunk) {
    panel.widen(rows, k, chunk_end(k, a.k));
    int64_t c = column;
    for (; c + 8 <= end; c += 8) add_panel<8>(a, panel, k, c, sums + (c - column) * kPanelRows);
    for (; c + 4 <= end; c += 4) add_panel<4>(a, panel, k, c, sums + (c - column) * kPanelRows);
    for (; c < end; ++c) add_panel<1>(a, panel, k, c, sums + (c - column) * kPanelRows);
  }
  for (int64_t c = column; c < end; ++c) store_rows(a, c, row, sums + (c - column) * kPanelRows, kPanelRows);
}

template <class LoneRows, class PanelRows>
inline void matmul_floats_of(const MatmulArgs& a) noexcept {
  for (int64_t column = 0; column < a.n_cols; column += kColumnBlock) {
    const int64_t end = column + kColumnBlock < a.n_cols ? column + kColumnBlock : a.n_cols;
    if (end - column == 1) {
      for (int64_t row = 0; row < a.n_rows; row += kLoneVecs * kWidth) multiply_lone_column<LoneRows>(a, row, column);
    } else {
      for (int64_t row = 0; row < a.n_rows; row += kPanelRows) multiply_columns<PanelRows>(a, row, column, end);
    }
  }
}

template <class Element>
inline void matmul_floats(const MatmulArgs& a) noexcept {
  if (a.packed) {
    matmul_floats_of<PackedRows<Element, kLoneVecs>, PackedRows<Element, kPanelVecs>>(a);
  } else {
    matmul_floats_of<StockRows<Element, kLoneVecs>, StockRows<Element, kPanelVecs>>(a);
  }
}

}  // namespace
}  // namespace thimble::kernels
