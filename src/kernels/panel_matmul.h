// The matmul that every integer kernel shares, written against a vocabulary (simd_<isa>.h, included before this
// header).
//
// A panel is kLanes weight rows x 256 elements, unpacked once and multiplied by every column:
//   w     [64 steps][kLanes rows][4 bytes]: four neighbouring elements of each row, what one dot-product
//         instruction takes; a column supplies the same four of its values to all lanes
//   sums, scales and results hold one row per lane, so nothing is ever added across lanes
// The integer part is exact. Float operations are those of scalar_matmul.h in the same order (no fused operations), so
// results are bit-equal to the scalar kernel and do not depend on n_cols. One algorithm serves decode and prefill:
// with one column the panel still costs less than the memory it is read from.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"

namespace thimble::kernels {
namespace {

constexpr int64_t kGroup = 256;
// Columns per pass: their sums take 8 KiB (16 lanes), their activations of one group 40 KiB.
constexpr int64_t kMaxColumns = 128;

struct alignas(64) SuperPanel {
  uint8_t w[64 * 4 * kLanes];
  int32_t scale[16 * kLanes];  // pack_scale form, per sub-block
  int32_t pair[8 * kLanes];    // 16-bit factors of the sums of x: mins, or offset * scale
  float d[kLanes];
  float dmin[kLanes];
};

struct alignas(64) BlockPanel {
  uint8_t w[64 * 4 * kLanes];
  float d[8 * kLanes];
  float m[8 * kLanes];
};

// What has to be subtracted from every stored byte to get the weight.
template <class Type>
constexpr int byte_offset() noexcept {
  return Type::kSigned ? (kUnsignedWeightsOnly ? 128 : 0) : Type::kOffset;
}

// Stores the bytes of one step: four elements of each row.
template <class Type>
inline void put_step(uint8_t* w, int step, Ints bytes) noexcept {
  if (Type::kSigned && kUnsignedWeightsOnly) bytes = bit_xor(bytes, splat(0x80808080u));
  store_ints(w + 4 * kLanes * step, bytes);
}

inline int32_t sum_pair(const ActivationGroup& x, int index) noexcept {
  int32_t pair = 0;
  __builtin_memcpy(&pair, x.sums + 2 * index, 4);
  return pair;
}

// Gathers small fields that no 16-byte chunk holds.
template <typename Field>
inline Ints load_fields(PanelRows& rows, size_t at) noexcept {
  alignas(64) uint32_t values[kLanes];
  for (int r = 0; r < kLanes; ++r) {
    Field field = 0;
    __builtin_memcpy(&field, rows.row[r] + at, sizeof field);
    values[r] = field;
  }
  return load_ints(values);
}

// ---- super-blocks: acc += dx * (d * sum(scale q x) - dmin * sum(min x))

template <class Type, int kCols>
inline void multiply_super(const SuperPanel& p, const ActivationGroup* const* x, float* acc) noexcept {
  constexpr int kSteps = 64 / Type::kSubs;
  Ints sums[kCols];
  Ints mins[kCols];
  const int8_t* q[kCols];
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    sums[c] = splat(0);
    mins[c] = splat(0);
    q[c] = x[c]->q;
  }
#pragma GCC unroll 2
  for (int s = 0; s < Type::kSubs; ++s) {
    dot_steps<Type, kSteps, kCols, true>(p.w + 4 * kLanes * kSteps * s, q, 4 * kSteps * s,
                                         load_ints(p.scale + kLanes * s), sums);
  }
  constexpr bool kCorrect = Type::kHasMin || byte_offset<Type>() != 0;
  for (int j = 0; j < (kCorrect ? 8 : 0); ++j) {
    const Ints pair = load_ints(p.pair + kLanes * j);
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) mins[c] = dot_pairs(mins[c], pair, sum_pair(*x[c], j));
  }
  const Floats d = load_floats(p.d);
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    Floats term;
    if constexpr (Type::kHasMin) {
      term = sub_floats(mul_floats(d, to_floats(sums[c])), mul_floats(load_floats(p.dmin), to_floats(mins[c])));
    } else {
      term = mul_floats(d, to_floats(sub_ints(sums[c], mins[c])));
    }
    float* at = acc + kLanes * c;
    store_floats(at, add_floats(load_floats(at), mul_floats(splat_float(x[c]->d[0]), term)));
  }
}

template <class Type>
struct SuperKernel {
  using Panel = SuperPanel;
  static constexpr int64_t kElements = 256;

  static void expand(PanelRows& rows, int64_t group, int64_t, Panel& p) noexcept {
    Ints scales[Type::kSubs];
    Ints mins[Type::kSubs];
    Type::expand(rows, static_cast<size_t>(group) * Type::kBytes, p, scales, mins);
    for (int s = 0; s < Type::kSubs; ++s) {
      store_ints(p.scale + kLanes * s, pack_scale(scales[s]));
      if (!Type::kHasMin) mins[s] = mul_ints(scales[s], splat(static_cast<uint32_t>(byte_offset<Type>())));
    }
    for (int j = 0; j < 8; ++j) {
      const int low = Type::kSubs == 8 ? j : 2 * j;
      const int high = Type::kSubs == 8 ? j : 2 * j + 1;
      store_ints(p.pair + kLanes * j, pack_pair(mins[low], mins[high]));
    }
  }

  template <int kCols>
  static void multiply(const Panel& p, int64_t, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_super<Type, kCols>(p, x, acc);
  }
};

// ---- blocks of 32: acc += dx * (dw * sum(q x) + mw * sum(x)), block after block

template <class Type, int kCols>
inline void multiply_block(const BlockPanel& p, int64_t n_blocks, const ActivationGroup* const* x,
                           float* acc) noexcept {
  const int8_t* q[kCols];
  Floats total[kCols];
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    q[c] = x[c]->q;
    total[c] = load_floats(acc + kLanes * c);
  }
  for (int b = 0; b < static_cast<int>(n_blocks); ++b) {
    Ints dots[kCols];
    int32_t x_sum[kCols];
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      x_sum[c] = x[c]->sums[2 * b] + x[c]->sums[2 * b + 1];
      dots[c] = splat(static_cast<uint32_t>(-byte_offset<Type>() * x_sum[c]));
    }
    dot_steps<Type, 8, kCols, false>(p.w + 4 * kLanes * 8 * b, q, 32 * b, splat(0), dots);
    const Floats d = load_floats(p.d + kLanes * b);
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      Floats term = mul_floats(d, to_floats(dots[c]));
      if constexpr (Type::kHasMin) {
        const Floats sum = splat_float(static_cast<float>(x_sum[c]));
        term = add_floats(term, mul_floats(load_floats(p.m + kLanes * b), sum));
      }
      total[c] = add_floats(total[c], mul_floats(splat_float(x[c]->d[b]), term));
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) store_floats(acc + kLanes * c, total[c]);
}

template <class Type>
struct BlockKernel {
  using Panel = BlockPanel;
  static constexpr int64_t kElements = 32;

  static void expand(PanelRows& rows, int64_t group, int64_t n_blocks, Panel& p) noexcept {
    for (int b = 0; b < static_cast<int>(n_blocks); ++b) {
      const size_t at = static_cast<size_t>(8 * group + b) * Type::kBytes;
      Type::expand(rows, at, p.w + 4 * kLanes * 8 * b, p.d + kLanes * b, p.m + kLanes * b);
    }
  }

  template <int kCols>
  static void multiply(const Panel& p, int64_t n_blocks, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_block<Type, kCols>(p, n_blocks, x, acc);
  }
};

// ---- the loop over columns, rows and groups

inline const ActivationGroup* activations(const MatmulArgs& a, int64_t column, int64_t group) noexcept {
  return reinterpret_cast<const ActivationGroup*>(a.x + static_cast<size_t>(column) * a.x_stride) + group;
}

template <class Kernel, int kCols>
inline void multiply_tile(const MatmulArgs& a, const typename Kernel::Panel& panel, int64_t group, int64_t n_blocks,
                          int64_t column, float* acc) noexcept {
  const ActivationGroup* x[kCols];
  for (int c = 0; c < kCols; ++c) x[c] = activations(a, column + c, group);
  Kernel::template multiply<kCols>(panel, n_blocks, x, acc);
}

// Panels between the one that is read and the one that is asked for: one is too late for memory, four thrash (measured
// on Zen 4: 13.1, 14.8 and 12.3 GB/s for one, two and four).
constexpr int64_t kPanelsAhead = 2;

// Address of the part of a later panel that corresponds to `group`. Rows of a panel are read side by side, a pattern
// that hardware prefetchers lose. Past the end of the weights it is only a wasted hint.
inline uintptr_t address_ahead(const MatmulArgs& a, int64_t row, int64_t group, int64_t n_groups) noexcept {
  const size_t panel_bytes = kLanes * a.weight_stride;
  const size_t first = static_cast<size_t>(row + kPanelsAhead * kLanes) * a.weight_stride;
  return reinterpret_cast<uintptr_t>(a.weights) + first +
         panel_bytes * static_cast<size_t>(group) / static_cast<size_t>(n_groups);
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

// One panel of rows, all groups of k, up to kMaxColumns columns.
template <class Kernel>
inline void multiply_rows(const MatmulArgs& a, int64_t row, int64_t column, int64_t n_cols) noexcept {
  alignas(64) float acc[kMaxColumns * kLanes];
  typename Kernel::Panel panel;
  PanelRows rows;
  // Lanes past the last row repeat it and are not stored.
  for (int64_t r = 0; r < kLanes; ++r) {
    const int64_t clamped = row + r < a.n_rows ? row + r : a.n_rows - 1;
    rows.row[r] = reinterpret_cast<const uint8_t*>(a.weights) + static_cast<size_t>(clamped) * a.weight_stride;
  }
  for (int64_t c = 0; c < n_cols; ++c) store_floats(acc + kLanes * c, splat_float(0.0f));

  const int64_t n_blocks = a.k / Kernel::kElements;
  const int64_t blocks_per_group = kGroup / Kernel::kElements;
  const int64_t n_groups = (n_blocks + blocks_per_group - 1) / blocks_per_group;
  for (int64_t group = 0; group < n_groups; ++group) {
    const int64_t left = n_blocks - group * blocks_per_group;
    const int64_t here = left < blocks_per_group ? left : blocks_per_group;
    rows.ahead = address_ahead(a, row, group, n_groups);
    Kernel::expand(rows, group, here, panel);
    int64_t c = 0;
    for (; c + kColumns <= n_cols; c += kColumns) {
      multiply_tile<Kernel, kColumns>(a, panel, group, here, column + c, acc + kLanes * c);
    }
    for (; c < n_cols; ++c) multiply_tile<Kernel, 1>(a, panel, group, here, column + c, acc + kLanes * c);
  }
  store_results(a, row, column, n_cols, acc);
}

template <class Kernel>
inline void matmul_panels(const MatmulArgs& a) noexcept {
  for (int64_t column = 0; column < a.n_cols; column += kMaxColumns) {
    const int64_t n_cols = a.n_cols - column < kMaxColumns ? a.n_cols - column : kMaxColumns;
    for (int64_t row = 0; row < a.n_rows; row += kLanes) multiply_rows<Kernel>(a, row, column, n_cols);
  }
}

}  // namespace
}  // namespace thimble::kernels
