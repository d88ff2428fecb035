// What every matmul kernel reads: plain declarations only, because files compiled for one instruction set include them.
//
// Activations come in three layouts:
//   f32       n_cols rows of k floats (F32, F16 and BF16 weights)
//   q8_block  rows of ActivationGroup, one scale per 32 values (Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, I4_G* and I5_G*
//             weights)
//   q8_super  rows of ActivationGroup, one scale per 256 values (K-quants and IQ4_XS)
// Values are rounded like ggml's Q8_0 and Q8_K: q = nearest_even(x * 127 / max|x|), so that results follow stock
// llama.cpp; the scale stays a float (ggml's Q8_0 rounds it to f16, which costs accuracy and saves nothing here).
#pragma once

#include <cstddef>
#include <cstdint>

namespace thimble::kernels {

enum class ActivationLayout : uint8_t { f32, q8_block, q8_super };

/// Products that one chain of fused multiply-adds sums in matmuls of float weights (scalar_float.h).
inline constexpr int64_t kFloatChunk = 128;

/// 256 quantized activations: five cache lines. k that is no multiple of 256 (q8_block only) ends in zeroes.
struct alignas(64) ActivationGroup {
  int8_t q[256];     // -127 .. 127: never -128, which lets AVX2 negate them
  int16_t sums[16];  // of each 16 values of q
  // q8_block: the scale of each 32 values. q8_super: the scale of all in d[0], bounds of sums in d[1] and d[2] (below),
  // the scale again in the others.
  float d[8];
};
static_assert(sizeof(ActivationGroup) == 320);

/// Places in d of q8_super, each with a minus so that no scale looks like it: a kernel that finds zero or more there
/// knows no bound. The largest of the 32-value parts' sums of positive values, or of negative ones; the largest of the
/// 16-value parts' sums of magnitudes.
inline constexpr int kOneSignOf32 = 1, kMagnitudeOf16 = 2;

/// out[c * out_stride + r] = sum over i < k of weights[r][i] * activations[c][i].
struct MatmulArgs {
  // Stock: [n_rows] rows in GGUF block layout, any alignment, `weight_stride` bytes from row to row.
  // Packed: panels of packed_layout.h, 64-byte aligned, `weight_stride` bytes from panel to panel; the first row is the
  // first of a panel. Only kernels with packed_lanes > 0 read these.
  const std::byte* weights;
  size_t weight_stride;
  const std::byte* x;  // [n_cols] rows in the kernel's layout, 64-byte aligned for the q8 layouts
  size_t x_stride;     // bytes from row to row
  float* out;          // [n_cols, out_stride], n_rows used of each row
  size_t out_stride;   // floats from column to column
  int64_t n_rows;
  int64_t n_cols;
  int64_t k;  // a multiple of the weight type's block
  bool packed = false;
  bool prefetch = false;  // CpuFeatures::wants_prefetch: changes how fast memory is read, never the results
};

using MatmulFn = void (*)(const MatmulArgs& args) noexcept;

}  // namespace thimble::kernels
