// Row operations on floats, f16 bits and int8 that ops/ is written in: one table per instruction set. Plain
// declarations only, because files compiled for one instruction set include them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul_args.h"

namespace thimble::kernels {

/// Scores of n_q queries against n_keys keys: scores[i * scores_stride + j] = scale * (q_i . k_j).
struct ScoresArgs {
  const void* q;         // [n_q, dim] floats, or int8 for scores_i8
  const float* q_scale;  // [n_q], scores_i8 only
  const void* k;         // [n_keys] rows of dim f16 bits or int8
  int64_t k_stride;      // elements from key to key
  const float* k_scale;  // scale of key j at k_scale[j * k_scale_stride], scores_i8 only
  int64_t k_scale_stride;
  float* scores;
  int64_t scores_stride;
  int64_t n_q, n_keys, dim;
  float scale;
};

/// out_i += sum over j of weights[i * weights_stride + j] * v_j, j ascending; out [n_q, dim].
struct MixArgs {
  const float* weights;
  int64_t weights_stride;
  const void* v;  // [n_keys] rows of dim f16 bits or int8
  int64_t v_stride;
  const float* v_scale;  // scale of row j at v_scale[j * v_scale_stride], mix_i8 only
  int64_t v_scale_stride;
  float* out;
  int64_t n_q, n_keys, dim;
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
  /// x = softmax(x) over n >= 1 values. Sum and exponentials are accurate to 2e-6 relative.
  void (*softmax)(float* x, int64_t n) noexcept;

  void (*scores_f16)(const ScoresArgs& args) noexcept;
  void (*scores_i8)(const ScoresArgs& args) noexcept;
  void (*mix_f16)(const MixArgs& args) noexcept;
  void (*mix_i8)(const MixArgs& args) noexcept;
};

extern const VectorKernels kVectorScalar;
extern const VectorKernels kVectorAvx2;
extern const VectorKernels kVectorAvx512Vnni;
extern const VectorKernels kVectorNeon;
extern const VectorKernels kVectorNeonDotprod;

}  // namespace thimble::kernels
