// Row operations on floats, f16 bits and int8 that ops/ is written in: one table per instruction set. Plain
// declarations only, because files compiled for one instruction set include them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"

namespace thimble::kernels {

// Attention reads a cache whose layout is the same on every machine (ops/kv_layout.h): keys in tiles of kKeyLanes
// positions with the position innermost, so that no score needs a sum across lanes; values as rows (f16) or interleaved
// by four positions (int8), the unit of the byte dot products. Rows of dim elements are padded with zeroes to a
// multiple of 16. All pointers below are 64-byte aligned but q_scale, keep and weight_scale.
inline constexpr int64_t kKeyLanes = 16;
inline constexpr int64_t kKeyBlock = 256;  // keys that one call handles at most: their scores stay in the first cache
inline constexpr int64_t kStripRows = 8;   // query rows that one call handles at most
// int8 mixing rounds the weights of a row and block to 0 .. kMaxWeight: 256 products with +-127 fit 32 bits, and two
// halves of seven bits are what signed and unsigned byte instructions take alike.
inline constexpr int kMaxWeight = 16383;

/// scores[i * kKeyBlock + j] = q_i . k_j (times q_scale[i] * k_scale[j] for int8; the integer part is exact), for
/// j < n_tiles * kKeyLanes.
struct ScoresArgs {
  const void* q;         // [n_q, dim] floats, or int8 for scores_i8
  const float* q_scale;  // [n_q], scores_i8 only
  const void* k;         // [n_tiles][dim][kKeyLanes] f16 bits or [n_tiles][dim / 4][kKeyLanes][4] int8
  const float* k_scale;  // [n_tiles * kKeyLanes], scores_i8 only
  float* scores;
  int64_t n_q, n_tiles, dim;
  const void* ahead;  // memory that is read next: asked into the caches meanwhile, as many bytes as the keys have
};

/// One row of a block of scores, and the softmax over the keys before it.
struct SoftmaxRow {
  float* scores;  // in: base-2 logarithms; out: e_j = exp2(score - max) in [begin, end), zero elsewhere in [0, n)
  const float* v_scale;  // null, or [n]: the output is e_j * v_scale[j] instead; outside of [begin, end) any float
  int64_t begin, end;    // keys that the row sees, 0 <= begin < end <= n
  int64_t n;             // a multiple of kKeyLanes, at most kKeyBlock
  float max, sum;        // in and out: of all keys so far; -infinity and 0 at first; sum is of the e_j alone
  float largest;         // out, with v_scale: the largest output, NaN or infinity when one is
};

/// out_i = out_i * keep[i] + sum over j < n_keys of w_ij v_j.
struct MixArgs {
  const void* weights;        // f16: [n_q, kKeyBlock] floats; int8: [n_q, kKeyBlock] as round_weights left them
  const float* weight_scale;  // [n_q], mix_i8 only: what it returned
  const float* keep;          // [n_q]
  const void* v;              // [n_keys][dim] f16 bits or [n_keys / 4][dim][4] int8
  float* out;                 // [n_q, dim]
  int64_t n_q, n_keys, dim;   // n_keys a multiple of 4 for int8
  const void* ahead;          // as in ScoresArgs, as many bytes as the values have
};

struct ScaledRow {
  const float* values;
  float scale;
};

/// Columns of add_products_f64 whose factors lie side by side.
constexpr int64_t kProductGroup = 8;

/// sums[i][j] = fma(a_i[k], b_j[k], sums[i][j]) for k = 0, 1, ... depth - 1. A long product may be made in pieces: the
/// bits are the same. Bit-equal on every instruction set.
struct ProductsArgs {
  const double* a;   // n_a rows of `depth` numbers
  const double* b;   // n_groups of [depth, kProductGroup]: b_j[k] of eight columns j for each k
  int64_t n_a;       // any
  int64_t n_groups;  // any
  int64_t a_stride;  // doubles from row to row
  int64_t b_stride;  // doubles from group to group
  int64_t depth;     // any
  double* sums;      // n_a rows of n_groups * kProductGroup
  int64_t sums_stride;
};

struct VectorKernels {
  /// x [k] to ceil(k / 256) groups; k a multiple of 32 for blocks and of 256 for supers. A block that holds NaN or
  /// infinity gets scale NaN, so that the product shows it. Bit-equal on every instruction set.
  void (*quantize_q8_block)(const float* x, ActivationGroup* out, int64_t k) noexcept;
  void (*quantize_q8_super)(const float* x, ActivationGroup* out, int64_t k) noexcept;
  /// q = nearest_even(x * 127 / max|x|); returns the scale max|x| / 127 (NaN when x holds NaN or infinity).
  float (*quantize_i8)(const float* x, int8_t* q, int64_t n) noexcept;
  void (*f32_to_f16)(const float* x, uint16_t* out, int64_t n) noexcept;  // nearest even

  float (*sum_of_squares)(const float* x, int64_t n) noexcept;
  void (*scale_by_weight)(const float* x, const float* weight, float scale, float* out, int64_t n) noexcept;
  void (*add)(float* x, const float* y, int64_t n) noexcept;
  void (*silu_mul)(float* gate, const float* up, int64_t n) noexcept;  // relative error of silu below 1e-6

  void (*scores_f16)(const ScoresArgs& args) noexcept;
  void (*scores_i8)(const ScoresArgs& args) noexcept;
  /// Takes a row of a block into a softmax; returns exp2(old max - new max), by which what was mixed before is
  /// multiplied. Exponentials and sums are accurate to 2e-6 relative. The result does not depend on n.
  float (*soften)(SoftmaxRow& row) noexcept;
  /// w_j = nearest(x_j / scale) with scale = largest / kMaxWeight, to the form that mix_i8 of the same table reads:
  /// room for kKeyBlock 16-bit words at `weights`. 0 <= x_j <= largest, n a multiple of kKeyLanes. Returns scale (NaN,
  /// and weights of zero, when `largest` is not finite).
  float (*round_weights)(const float* x, float largest, int64_t n, void* weights) noexcept;
  void (*mix_f16)(const MixArgs& args) noexcept;
  void (*mix_i8)(const MixArgs& args) noexcept;

  /// x[i] = (x[i] + rows[0].scale * rows[0].values[i]) + rows[1].scale * rows[1].values[i] and so on, products rounded
  /// before they are added. Bit-equal on every instruction set, in whole and in pieces.
  void (*add_scaled_rows)(float* x, int64_t n, const ScaledRow* rows, int64_t n_rows) noexcept;
  void (*add_products_f64)(const ProductsArgs& args) noexcept;
};

extern const VectorKernels kVectorScalar;
extern const VectorKernels kVectorAvx2;
extern const VectorKernels kVectorAvx512Vnni;
extern const VectorKernels kVectorNeon;
extern const VectorKernels kVectorNeonDotprod;

}  // namespace thimble::kernels
