// The matmul that every integer kernel shares, written against a vocabulary (simd_<isa>.h, included before this
// header).
//
// A panel is kLanes weight rows x 256 elements, unpacked once and multiplied by every column:
//   w     [64 steps][kLanes rows][4 bytes]: four neighbouring elements of each row, what one dot-product
//         instruction takes; a column supplies the same four of its values to all lanes
//   sums, scales and results hold one row per lane, so nothing is ever added across lanes
// With one column the panel is never stored: its steps are multiplied as they are unpacked (panel_vector.h).
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

struct alignas(64) SuperPanel {
  uint8_t w[64 * 4 * kLanes];
  int32_t scale[16 * kLanes];  // pack_scale form, per sub-block
  int32_t pair[8 * kLanes];    // 16-bit factors of the sums of x, two sub-blocks each: mins, or scales (byte_offset)
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

/// The sink of expand: stores the kSteps steps of (a part of) a panel as they come.
template <class Type, int kSteps>
struct StoredSteps {
  uint8_t* w;
  explicit StoredSteps(uint8_t* to) noexcept : w(to) {}
  template <int kStep>
  THIMBLE_INLINE inline void step(Ints bytes) const noexcept {
    store_ints(w + 4 * kLanes * kStep, bytes);
  }
};

inline int32_t load_pair(const int16_t* pair) noexcept {
  int32_t both = 0;
  __builtin_memcpy(&both, pair, sizeof both);
  return both;
}

// ---- super-blocks: acc += dx * (d * sum(scale q x) - dmin * sum(min x))

template <class Type>
struct SuperScales {
  Floats d;
  Floats dmin;
  Ints scale[Type::kSubs];
  Ints min[Type::kHasMin ? Type::kSubs : 1];
};

// Sums of x over the sub-blocks of Type.
template <class Type>
struct SubSums {
  alignas(16) int16_t of_32[8];
  const int16_t* sums;

  THIMBLE_INLINE inline explicit SubSums(const ActivationGroup& x) noexcept : sums(x.sums) {
    if constexpr (Type::kSubs == 8) {
      add_neighbours(x.sums, of_32);
      sums = of_32;
    }
  }
  THIMBLE_INLINE inline int32_t pair(int index) const noexcept { return load_pair(sums + 2 * index); }
};

template <class Type>
inline constexpr bool kCorrectSums = Type::kHasMin || byte_offset<Type>() != 0;
template <class Type>
inline constexpr int kSumPairs = kCorrectSums<Type> ? Type::kSubs / 2 : 0;

// From the integer sums of a group to what is added to the result.
template <class Type>
THIMBLE_INLINE inline Floats super_term(Ints sums, Ints corrections, Floats d, Floats dmin, float dx) noexcept {
  Floats term;
  if constexpr (Type::kHasMin) {
    term = sub_floats(mul_floats(d, to_floats(sums)), mul_floats(dmin, to_floats(corrections)));
  } else if constexpr (byte_offset<Type>() != 0) {
    const Ints offset = mul_ints(corrections, splat(static_cast<uint32_t>(byte_offset<Type>())));
    term = mul_floats(d, to_floats(sub_ints(sums, offset)));
  } else {
    term = mul_floats(d, to_floats(sums));
  }
  return mul_floats(splat_float(dx), term);
}

// Results of a pass: of each panel kMaxColumns columns of kLanes rows.
inline constexpr int64_t kPassResults = kMaxColumns * kLanes;

// Panel: SuperPanel, or one that begins with it.
template <class Type, int kPanels, int kCols, class Panel>
inline void multiply_super(const Panel* p, const ActivationGroup* const* x, float* acc) noexcept {
  constexpr int kSteps = 64 / Type::kSubs;
  Ints sums[kPanels * kCols];
  const int8_t* q[kCols];
#pragma GCC unroll 12
  for (int i = 0; i < kPanels * kCols; ++i) sums[i] = splat(0);
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) q[c] = x[c]->q;
#pragma GCC unroll 2
  for (int s = 0; s < Type::kSubs; ++s) {
    dot_tile<Type, kSteps, kPanels, kCols, true>(p->w + 4 * kLanes * kSteps * s, p->scale + kLanes * s, sizeof(Panel),
                                                 q, 4 * kSteps * s, sums);
  }
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    const SubSums<Type> x_sums(*x[c]);
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      Ints corrections = splat(0);
#pragma GCC unroll 8
      for (int j = 0; j < kSumPairs<Type>; ++j) {
        corrections = dot_pairs(corrections, load_ints(p[i].pair + kLanes * j), x_sums.pair(j));
      }
      float* at = acc + kPassResults * i + kLanes * c;
      const Floats dmin = Type::kHasMin ? load_floats(p[i].dmin) : splat_float(0.0f);
      const Floats term = super_term<Type>(sums[i * kCols + c], corrections, load_floats(p[i].d), dmin, x[c]->d[0]);
      store_floats(at, add_floats(load_floats(at), term));
    }
  }
}

template <class T>
struct SuperKernel {
  using Type = T;
  using Panel = SuperPanel;
  static constexpr int64_t kElements = 256;

  template <class Reader>
  static void expand(Reader& in, int64_t group, int64_t, Panel& p) noexcept {
    SuperScales<Type> s;
    in.begin_block(group);
    Type::scales(in, s);
    store_floats(p.d, s.d);
    if constexpr (Type::kHasMin) store_floats(p.dmin, s.dmin);
    unroll<0, Type::kSubs>(
        [&](auto i) THIMBLE_INLINE { store_ints(p.scale + kLanes * i.value, pack_scale(s.scale[i.value])); });
    const Ints* factors = Type::kHasMin ? s.min : s.scale;
    unroll<0, kSumPairs<Type>>([&](auto j) THIMBLE_INLINE {
      store_ints(p.pair + kLanes * j.value, pack_pair(factors[2 * j.value], factors[2 * j.value + 1]));
    });
    StoredSteps<Type, 64> sink(p.w);
    Type::steps(in, sink);
  }

  template <int kPanels, int kCols>
  static void multiply(const Panel* p, int64_t, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_super<Type, kPanels, kCols>(p, x, acc);
  }
};

// ---- blocks of 32: acc += dx * (dw * sum(q x) + mw * sum(x)), block after block

// Per block what corrects or completes its dot product: the sum of x, times byte_offset where there is one. Integers
// below 2^20, so float arithmetic on them and on dot products is exact.
template <class Type>
THIMBLE_INLINE inline void set_block_sums(const ActivationGroup& x, float* of_32) noexcept {
  if constexpr (Type::kHasMin || byte_offset<Type>() != 0) {
    scale_neighbours(x.sums, Type::kHasMin ? 1.0f : static_cast<float>(byte_offset<Type>()), of_32);
  } else {
    for (int b = 0; b < 8; ++b) of_32[b] = 0.0f;
  }
}

template <class Type>
THIMBLE_INLINE inline Floats block_term(Ints dots, float x_sum, Floats d, Floats m, float dx) noexcept {
  Floats term;
  if constexpr (Type::kHasMin) {
    term = add_floats(mul_floats(d, to_floats(dots)), mul_floats(m, splat_float(x_sum)));
  } else if constexpr (byte_offset<Type>() != 0) {
    term = mul_floats(d, sub_floats(to_floats(dots), splat_float(x_sum)));
  } else {
    term = mul_floats(d, to_floats(dots));
  }
  return mul_floats(splat_float(dx), term);
}

template <class Type, int kPanels, int kCols>
inline void multiply_block(const BlockPanel* p, int64_t n_blocks, const ActivationGroup* const* x,
                           float* acc) noexcept {
  const int8_t* q[kCols];
  alignas(32) float x_sums[kCols][8];
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    q[c] = x[c]->q;
    set_block_sums<Type>(*x[c], x_sums[c]);
  }
  for (int b = 0; b < static_cast<int>(n_blocks); ++b) {
    Ints dots[kPanels * kCols];
#pragma GCC unroll 12
    for (int i = 0; i < kPanels * kCols; ++i) dots[i] = splat(0);
    dot_tile<Type, 8, kPanels, kCols, false>(p->w + 4 * kLanes * 8 * b, nullptr, sizeof(BlockPanel), q, 32 * b, dots);
#pragma GCC unroll 2
    for (int i = 0; i < kPanels; ++i) {
      const Floats d = load_floats(p[i].d + kLanes * b);
      const Floats m = Type::kHasMin ? load_floats(p[i].m + kLanes * b) : splat_float(0.0f);
#pragma GCC unroll 8
      for (int c = 0; c < kCols; ++c) {
        float* at = acc + kPassResults * i + kLanes * c;
        const Floats term = block_term<Type>(dots[i * kCols + c], x_sums[c][b], d, m, x[c]->d[b]);
        store_floats(at, add_floats(load_floats(at), term));
      }
    }
  }
}

/// Sink: where and how the steps of a block are kept, StoredSteps or what a vocabulary's own tiles want.
template <class T, template <class, int> class Sink = StoredSteps>
struct BlockKernel {
  using Type = T;
  using Panel = BlockPanel;
  static constexpr int64_t kElements = 32;

  template <class Reader>
  static void expand(Reader& in, int64_t group, int64_t n_blocks, Panel& p) noexcept {
    for (int b = 0; b < static_cast<int>(n_blocks); ++b) {
      in.begin_block(8 * group + b);
      const auto scales = Type::scales(in);
      store_floats(p.d + kLanes * b, scales.d);
      if constexpr (Type::kHasMin) store_floats(p.m + kLanes * b, scales.m);
      Sink<Type, 8> sink(p.w + 4 * kLanes * 8 * b);
      Type::steps(in, sink);
    }
  }

  template <int kPanels, int kCols>
  static void multiply(const Panel* p, int64_t n_blocks, const ActivationGroup* const* x, float* acc) noexcept {
    multiply_block<Type, kPanels, kCols>(p, n_blocks, x, acc);
  }
};

// ---- the loop over columns, rows and groups

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

}  // namespace
}  // namespace thimble::kernels
