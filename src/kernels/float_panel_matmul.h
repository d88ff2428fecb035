// The matmul of F32, F16 and BF16 weights on x86, written against a vocabulary (simd_<isa>.h, included before this
// header). As in panel_matmul.h a register holds one weight of each of kLanes rows, so nothing is added across lanes.
// Sums are those of scalar_float.h: kFloatChunk fused multiply-adds in order of k, then the sum of such parts; results
// are bit-equal to the scalar kernel and do not depend on n_cols, n_rows or the layout of the weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"
#include "kernels/panel_matmul.h"

namespace thimble::kernels {
namespace {

// Each type says how many weights 64 bytes of a row hold, and hands those of dword kDword of each row to
// body(Index, Floats).
struct PanelF32 {
  static constexpr size_t kBytes = 64, kFirstDword = 0;
  static constexpr int kPerLine = 16;
  using Bits = uint32_t;
  static Floats widen(Ints v) noexcept { return as_floats(v); }
  template <int kDword, class Body>
  THIMBLE_INLINE static inline void unpack(Ints v, const Body& body) noexcept {
    body(Index<kDword>{}, as_floats(v));
  }
  THIMBLE_INLINE static inline Floats load(const uint8_t* p) noexcept { return as_floats(load_ints_unaligned(p)); }
};
struct PanelF16 {
  static constexpr size_t kBytes = 64, kFirstDword = 0;
  static constexpr int kPerLine = 32;
  using Bits = uint16_t;
  static Floats widen(Ints v) noexcept { return half_to_floats(v); }
  template <int kDword, class Body>
  THIMBLE_INLINE static inline void unpack(Ints v, const Body& body) noexcept {
    body(Index<2 * kDword>{}, half_to_floats(v));
    body(Index<2 * kDword + 1>{}, half_to_floats(shr<16>(v)));
  }
  THIMBLE_INLINE static inline Floats load(const uint8_t* p) noexcept { return load_halves(p); }
};
struct PanelBf16 {
  static constexpr size_t kBytes = 64, kFirstDword = 0;
  static constexpr int kPerLine = 32;
  using Bits = uint16_t;
  static Floats widen(Ints v) noexcept { return as_floats(shl<16>(v)); }
  template <int kDword, class Body>
  THIMBLE_INLINE static inline void unpack(Ints v, const Body& body) noexcept {
    body(Index<2 * kDword>{}, as_floats(shl<16>(v)));
    body(Index<2 * kDword + 1>{}, as_floats(bit_and(v, splat(0xFFFF0000u))));
  }
  THIMBLE_INLINE static inline Floats load(const uint8_t* p) noexcept { return as_floats(shl<16>(load_halfwords(p))); }
};

// Weights of kLanes rows, from either layout.
template <class Type>
struct StockFloats {
  static constexpr int kVectorPanels = 2;  // side by side for one column
  static constexpr int kPerBlock = Type::kPerLine;
  StockReader<Type> in;
  void begin_rows(const MatmulArgs& a, int64_t row) noexcept { in.begin_rows(a, row); }
  // The first element of what follows, of k: decides what to prefetch.
  void begin(int64_t i, int64_t k) noexcept { in.begin_group(i / 8, (k + 7) / 8); }
  // body(j, weights i + j) for j < kPerBlock.
  template <class Body>
  THIMBLE_INLINE inline void block(int64_t i, const Body& body) noexcept {
    in.begin_block(i / kPerBlock);
    Ints line[16];
    load_line(in.rows, in.block_at, line);
    unroll<0, 16>([&](auto t) THIMBLE_INLINE { Type::template unpack<t.value>(line[t.value], body); });
  }
  Floats one(int64_t i) noexcept {
    in.begin_block(0);
    return Type::widen(in.template fields<typename Type::Bits>(static_cast<size_t>(i) * sizeof(typename Type::Bits)));
  }
};

template <class Type>
struct PackedFloats {
  static constexpr int kVectorPanels = 4;
  static constexpr int kPerBlock = 8;
  static constexpr size_t kBytes = sizeof(typename Type::Bits) * kLanes;  // of one element
  const uint8_t* panel = nullptr;
  void begin_rows(const MatmulArgs& a, int64_t row) noexcept {
    panel = reinterpret_cast<const uint8_t*>(a.weights) + static_cast<size_t>(row / kLanes) * a.weight_stride;
  }
  void begin(int64_t, int64_t) noexcept {}
  template <class Body>
  THIMBLE_INLINE inline void block(int64_t i, const Body& body) noexcept {
    const uint8_t* from = panel + static_cast<size_t>(i) * kBytes;
    for (size_t line = 0; line < kPerBlock * kBytes; line += 64) {
      ask_for(reinterpret_cast<uintptr_t>(from) + kBytesAhead<true> + line);
    }
    unroll<0, kPerBlock>([&](auto j) THIMBLE_INLINE { body(j, Type::load(from + kBytes * j.value)); });
  }
  Floats one(int64_t i) noexcept { return Type::load(panel + static_cast<size_t>(i) * kBytes); }
};

inline const float* float_row(const MatmulArgs& a, int64_t column) noexcept {
  return reinterpret_cast<const float*>(a.x + static_cast<size_t>(column) * a.x_stride);
}

inline int64_t smaller(int64_t a, int64_t b) noexcept {
  return a < b ? a : b;
}

// ---- one column: kPanels panels side by side hide the latency of their chains of additions

template <class Type, class Reader, int kPanels>
inline void multiply_float_vector(const MatmulArgs& a, int64_t row) noexcept {
  const float* x = float_row(a, 0);
  Reader in[kPanels];
  Floats total[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    in[p].begin_rows(a, row + kLanes * p);
    total[p] = splat_float(0.0f);
  }
  for (int64_t begin = 0; begin < a.k; begin += kFloatChunk) {
    const int64_t end = smaller(begin + kFloatChunk, a.k);
    Floats sums[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      sums[p] = splat_float(0.0f);
      in[p].begin(begin, a.k);
    }
    int64_t i = begin;
    for (; i + Reader::kPerBlock <= end; i += Reader::kPerBlock) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) {
        in[p].block(
            i, [&](auto j, Floats w) THIMBLE_INLINE { sums[p] = fma_floats(w, splat_float(x[i + j.value]), sums[p]); });
      }
    }
    for (; i < end; ++i) {
      for (int p = 0; p < kPanels; ++p) sums[p] = fma_floats(in[p].one(i), splat_float(x[i]), sums[p]);
    }
    for (int p = 0; p < kPanels; ++p) total[p] = add_floats(total[p], sums[p]);
  }
  for (int p = 0; p < kPanels; ++p) {
    alignas(64) float result[kLanes];
    store_floats(result, total[p]);
    store_results(a, row + kLanes * p, 0, 1, result);
  }
}

// ---- many columns: panels of kFloatChunk elements are widened once

constexpr int64_t kFloatPart = 4 * kFloatChunk;  // of k that goes by all rows: 128 columns of it are 256 KiB

template <int kPanels>
struct alignas(64) FloatPanels {
  float w[kPanels][kFloatChunk * kLanes];
};

template <class Type, class Reader>
inline void widen(Reader& in, int64_t begin, int64_t end, float* w) noexcept {
  int64_t i = begin;
  for (; i + Reader::kPerBlock <= end; i += Reader::kPerBlock) {
    float* to = w + (i - begin) * kLanes;
    in.block(i, [&](auto j, Floats v) THIMBLE_INLINE { store_floats(to + kLanes * j.value, v); });
  }
  for (; i < end; ++i) store_floats(w + (i - begin) * kLanes, in.one(i));
}

// x: the first activation of each column, `stride` floats apart; n of them.
template <int kPanels, int kCols>
inline void multiply_float_tile(const FloatPanels<kPanels>& panels, const float* x, size_t stride, int64_t n,
                                float* acc) noexcept {
  Floats sums[kPanels * kCols];
  const float* column[kCols];
#pragma GCC unroll 12
  for (int i = 0; i < kPanels * kCols; ++i) sums[i] = splat_float(0.0f);
#pragma GCC unroll 6
  for (int c = 0; c < kCols; ++c) column[c] = x + stride * static_cast<size_t>(c);
#pragma GCC unroll 4
  for (int64_t i = 0; i < n; ++i) {
    Floats w[kPanels];
#pragma GCC unroll 2
    for (int p = 0; p < kPanels; ++p) w[p] = load_floats(panels.w[p] + i * kLanes);
#pragma GCC unroll 6
    for (int c = 0; c < kCols; ++c) {
      const Floats value = splat_float(column[c][i]);
#pragma GCC unroll 2
      for (int p = 0; p < kPanels; ++p) sums[p * kCols + c] = fma_floats(w[p], value, sums[p * kCols + c]);
    }
  }
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 6
    for (int c = 0; c < kCols; ++c) {
      float* at = acc + kPassResults * p + kLanes * c;
      store_floats(at, add_floats(load_floats(at), sums[p * kCols + c]));
    }
  }
}

// What is multiplied: elements [begin, end) of k of some panels with some columns.
template <int kPanels>
struct FloatProduct {
  const MatmulArgs& a;
  const FloatPanels<kPanels>& panels;
  Columns columns;
  int64_t begin, end;
  float* acc;
};

template <int kPanels, int kCols>
inline void multiply_float_tiles(const FloatProduct<kPanels>& p, int64_t c) noexcept {
  for (; c + kCols <= p.columns.n_cols; c += kCols) {
    const float* x = float_row(p.a, p.columns.begin + c) + p.begin;
    multiply_float_tile<kPanels, kCols>(p.panels, x, p.a.x_stride / sizeof(float), p.end - p.begin, p.acc + kLanes * c);
  }
  if constexpr (kCols > 1) {
    constexpr int kNarrower = kCols > 4 ? 4 : kCols / 2;
    if (c < p.columns.n_cols) multiply_float_tiles<kPanels, kNarrower>(p, c);
  }
}

// kPanels panels of rows, elements [part, part_end) of k.
template <class Type, class Reader, int kPanels>
inline void multiply_float_rows(const MatmulArgs& a, int64_t row, const Columns& columns, int64_t part,
                                int64_t part_end) noexcept {
  alignas(64) float acc[kPanels * kPassResults];
  FloatPanels<kPanels> panels;
  Reader in[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    in[p].begin_rows(a, row + kLanes * p);
    begin_results(a, row + kLanes * p, columns, part == 0, acc + kPassResults * p);
  }
  for (int64_t begin = part; begin < part_end; begin += kFloatChunk) {
    const int64_t end = smaller(begin + kFloatChunk, part_end);
    for (int p = 0; p < kPanels; ++p) {
      in[p].begin(begin, a.k);
      widen<Type>(in[p], begin, end, panels.w[p]);
    }
    multiply_float_tiles<kPanels, kFloatColumns>({a, panels, columns, begin, end, acc}, 0);
  }
  for (int p = 0; p < kPanels; ++p) {
    store_results(a, row + kLanes * p, columns.begin, columns.n_cols, acc + kPassResults * p);
  }
}

template <class Type, class Reader>
inline void multiply_floats(const MatmulArgs& a) noexcept {
  if (a.n_cols == 1) {
    int64_t row = 0;
    constexpr int kPanels = Reader::kVectorPanels;
    for (; row + (kPanels - 1) * kLanes < a.n_rows; row += kPanels * kLanes) {
      multiply_float_vector<Type, Reader, kPanels>(a, row);
    }
    for (; row < a.n_rows; row += kLanes) multiply_float_vector<Type, Reader, 1>(a, row);
    return;
  }
  for (int64_t column = 0; column < a.n_cols; column += kMaxColumns) {
    const Columns columns = {column, smaller(a.n_cols - column, kMaxColumns)};
    for (int64_t part = 0; part < a.k; part += kFloatPart) {
      const int64_t end = smaller(part + kFloatPart, a.k);
      int64_t row = 0;
      for (; row + kLanes < a.n_rows; row += 2 * kLanes)
        multiply_float_rows<Type, Reader, 2>(a, row, columns, part, end);
      for (; row < a.n_rows; row += kLanes) multiply_float_rows<Type, Reader, 1>(a, row, columns, part, end);
    }
  }
}

/// The kernel: any layout of the weights, any number of columns.
template <class Type>
inline void matmul_float_panels(const MatmulArgs& a) noexcept {
  a.packed ? multiply_floats<Type, PackedFloats<Type>>(a) : multiply_floats<Type, StockFloats<Type>>(a);
}

}  // namespace
}  // namespace thimble::kernels
