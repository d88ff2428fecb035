// Reference row operations: scalar, and the specification of the vector kernels of every instruction set, which give
// the same bits: fused multiplications and the order of sums are part of it.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/float16.h"
#include "kernels/group_sums.h"
#include "kernels/vector_kernel.h"

namespace thimble::kernels {

namespace {

constexpr uint32_t kInfinityBits = 0x7F800000u;
// Below this a block counts as zero: 127 / max must stay finite.
constexpr float kTinyMax = 0x1p-100f;

// Largest |x| as bits: integer order of magnitudes puts NaN above infinity, so neither is lost.
uint32_t max_magnitude_bits(const float* x, int64_t n) noexcept {
  uint32_t max_bits = 0;
  for (int64_t i = 0; i < n; ++i) max_bits = std::max(max_bits, std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFFu);
  return max_bits;
}

// Nearest integer, ties to even, for |v| < 2^22: adding 1.5 * 2^23 leaves the integer in the low mantissa bits.
int nearest_int(float v) noexcept {
  return static_cast<int>(std::bit_cast<uint32_t>(v + 12582912.0f) & 0x007FFFFFu) - 0x00400000;
}

// 2^n for -126 <= n <= 127.
float power_of_2(int n) noexcept {
  return std::bit_cast<float>(static_cast<uint32_t>(n + 127) << 23);
}

// A sum in sixteen running parts that are added in halves: the order of vector_rows.h, so that every instruction set
// ends with the same bits.
struct SumParts {
  std::array<float, 16> parts{};
  float& of(int64_t i) noexcept { return parts[static_cast<size_t>(i % 16)]; }
  float total() noexcept {
    for (size_t half = 8; half > 0; half /= 2) {
      for (size_t i = 0; i < half; ++i) parts[i] += parts[i + half];
    }
    return parts[0];
  }
};

// q [n] and the scale of one block.
float quantize_one(const float* x, int8_t* q, int64_t n) noexcept {
  const uint32_t bits = max_magnitude_bits(x, n);
  const float max = std::bit_cast<float>(bits);
  if (bits >= kInfinityBits || max < kTinyMax) {
    std::memset(q, 0, static_cast<size_t>(n));
    return bits >= kInfinityBits ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
  }
  const float inverse = 127.0f / max;
  for (int64_t i = 0; i < n; ++i) q[i] = static_cast<int8_t>(nearest_int(x[i] * inverse));
  return max / 127.0f;
}

void quantize_q8_block(const float* x, ActivationGroup* out, int64_t k) noexcept {
  for (int64_t base = 0; base < k; base += 256) {
    ActivationGroup& group = out[base / 256];
    for (int64_t s = 0; s < 8; ++s) {
      const int64_t at = base + 32 * s;
      if (at < k) {
        group.d[s] = quantize_one(x + at, group.q + 32 * s, 32);
      } else {
        group.d[s] = 0.0f;
        std::memset(group.q + 32 * s, 0, 32);
      }
    }
    set_sums(group, false);
  }
}

void quantize_q8_super(const float* x, ActivationGroup* out, int64_t k) noexcept {
  for (int64_t base = 0; base < k; base += 256) {
    ActivationGroup& group = out[base / 256];
    const float d = quantize_one(x + base, group.q, 256);
    for (float& each : group.d) each = d;
    set_sums(group, true);
  }
}

float quantize_i8(const float* x, int8_t* q, int64_t n) noexcept {
  return quantize_one(x, q, n);
}

void convert_f32_to_f16(const float* x, uint16_t* out, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) out[i] = f32_to_f16(x[i]);
}

float sum_of_squares(const float* x, int64_t n) noexcept {
  SumParts parts;
  for (int64_t i = 0; i < n; ++i) parts.of(i) = std::fma(x[i], x[i], parts.of(i));
  return parts.total();
}

void scale_by_weight(const float* x, const float* weight, float scale, float* out, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

void add(float* x, const float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

// e^x as vec_exp in vector_rows.h computes it, step by step.
float exp_e(float x) noexcept {
  if (x > 88.37f) return std::numeric_limits<float>::infinity();
  if (x < -87.33f) return 0.0f;
  const int n = nearest_int(x * 1.44269504088896341f);
  const auto whole = static_cast<float>(n);
  float r = std::fma(whole, -0.693359375f, x);
  r = std::fma(whole, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = std::fma(p, r, 1.3981999507e-3f);
  p = std::fma(p, r, 8.3334519073e-3f);
  p = std::fma(p, r, 4.1665795894e-2f);
  p = std::fma(p, r, 1.6666665459e-1f);
  p = std::fma(p, r, 5.0000001201e-1f);
  return (std::fma(p, r * r, r) + 1.0f) * power_of_2(n);
}

// 2^x for x <= 0 as vec_exp2 in vector_attention.h computes it.
float exp_2(float x) noexcept {
  const float bounded = x < -126.0f ? -126.0f : x;
  const int n = nearest_int(bounded);
  const float r = bounded - static_cast<float>(n);
  float p = 1.1125701e-3f;
  p = std::fma(p, r, 9.6662825e-3f);
  p = std::fma(p, r, 5.5573999e-2f);
  p = std::fma(p, r, 2.4022351e-1f);
  p = std::fma(p, r, 6.9314283e-1f);
  p = std::fma(p, r, 1.0f);
  return p * power_of_2(n);
}

void silu_mul(float* gate, const float* up, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) gate[i] = gate[i] / (1.0f + exp_e(0.0f - gate[i])) * up[i];
}

void scores_f16(const ScoresArgs& a) noexcept {
  const auto* k = static_cast<const uint16_t*>(a.k);
  const auto* q = static_cast<const float*>(a.q);
  for (int64_t i = 0; i < a.n_q; ++i) {
    for (int64_t j = 0; j < a.n_tiles * kKeyLanes; ++j) {
      const uint16_t* lane = k + j / kKeyLanes * a.dim * kKeyLanes + j % kKeyLanes;
      float dot = 0.0f;
      for (int64_t d = 0; d < a.dim; ++d) dot = std::fma(q[i * a.dim + d], f16_to_f32(lane[d * kKeyLanes]), dot);
      a.scores[i * kKeyBlock + j] = dot;
    }
  }
}

void scores_i8(const ScoresArgs& a) noexcept {
  const auto* k = static_cast<const int8_t*>(a.k);
  const auto* q = static_cast<const int8_t*>(a.q);
  for (int64_t i = 0; i < a.n_q; ++i) {
    for (int64_t j = 0; j < a.n_tiles * kKeyLanes; ++j) {
      const int8_t* lane = k + j / kKeyLanes * a.dim * kKeyLanes + j % kKeyLanes * 4;
      int dot = 0;
      for (int64_t d = 0; d < a.dim; ++d) dot += q[i * a.dim + d] * lane[d / 4 * 4 * kKeyLanes + d % 4];
      a.scores[i * kKeyBlock + j] = static_cast<float>(dot) * (a.q_scale[i] * a.k_scale[j]);
    }
  }
}

float soften(SoftmaxRow& row) noexcept {
  float max = row.max;
  for (int64_t j = row.begin; j < row.end; ++j) max = std::max(max, row.scores[j]);
  const float keep = row.max > -std::numeric_limits<float>::infinity() ? exp_2(row.max - max) : 0.0f;
  SumParts sums;
  uint32_t largest = 0;
  for (int64_t j = 0; j < row.n; ++j) {
    if (j < row.begin || j >= row.end) {
      row.scores[j] = 0.0f;
      continue;
    }
    row.scores[j] = exp_2(row.scores[j] - max);
    sums.of(j) += row.scores[j];
    if (row.v_scale != nullptr) row.scores[j] *= row.v_scale[j];
    largest = std::max(largest, std::bit_cast<uint32_t>(row.scores[j]) & 0x7FFFFFFFu);
  }
  row.max = max;
  row.sum = row.sum * keep + sums.total();
  row.largest = std::bit_cast<float>(largest);
  return keep;
}

float round_weights(const float* x, float largest, int64_t n, void* weights) noexcept {
  auto* w = static_cast<uint16_t*>(weights);
  const bool finite = std::bit_cast<uint32_t>(largest) < kInfinityBits;
  if (!finite || largest < kTinyMax) {
    std::fill(w, w + n, uint16_t{0});
    return finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const float inverse = static_cast<float>(kMaxWeight) / largest;
  for (int64_t j = 0; j < n; ++j) w[j] = static_cast<uint16_t>(nearest_int(x[j] * inverse));
  return largest / static_cast<float>(kMaxWeight);
}

void mix_f16(const MixArgs& a) noexcept {
  const auto* weights = static_cast<const float*>(a.weights);
  const auto* v = static_cast<const uint16_t*>(a.v);
  for (int64_t i = 0; i < a.n_q; ++i) {
    for (int64_t d = 0; d < a.dim; ++d) {
      float sum = a.out[i * a.dim + d] * a.keep[i];
      for (int64_t j = 0; j < a.n_keys; ++j) {
        sum = std::fma(weights[i * kKeyBlock + j], f16_to_f32(v[j * a.dim + d]), sum);
      }
      a.out[i * a.dim + d] = sum;
    }
  }
}

void mix_i8(const MixArgs& a) noexcept {
  const auto* weights = static_cast<const uint16_t*>(a.weights);
  const auto* v = static_cast<const int8_t*>(a.v);
  for (int64_t i = 0; i < a.n_q; ++i) {
    for (int64_t d = 0; d < a.dim; ++d) {
      int sum = 0;
      for (int64_t j = 0; j < a.n_keys; ++j) {
        sum += weights[i * kKeyBlock + j] * v[(j / 4 * a.dim + d) * 4 + j % 4];
      }
      float& out = a.out[i * a.dim + d];
      out = std::fma(static_cast<float>(sum), a.weight_scale[i], out * a.keep[i]);
    }
  }
}

void add_scaled_rows(float* x, int64_t n, const ScaledRow* rows, int64_t n_rows) noexcept {
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t i = 0; i < n; ++i) x[i] += rows[r].scale * rows[r].values[i];
  }
}

void add_products_f64(const ProductsArgs& p) noexcept {
  for (int64_t i = 0; i < p.n_a; ++i) {
    for (int64_t j = 0; j < p.n_groups * kProductGroup; ++j) {
      const double* const b = p.b + j / kProductGroup * p.b_stride + j % kProductGroup;
      double& sum = p.sums[i * p.sums_stride + j];
      for (int64_t k = 0; k < p.depth; ++k) sum = std::fma(p.a[i * p.a_stride + k], b[k * kProductGroup], sum);
    }
  }
}

}  // namespace

const VectorKernels kVectorScalar = {quantize_q8_block,
                                     quantize_q8_super,
                                     quantize_i8,
                                     convert_f32_to_f16,
                                     sum_of_squares,
                                     scale_by_weight,
                                     add,
                                     silu_mul,
                                     scores_f16,
                                     scores_i8,
                                     soften,
                                     round_weights,
                                     mix_f16,
                                     mix_i8,
                                     add_scaled_rows,
                                     add_products_f64};

}  // namespace thimble::kernels
