// Reference row operations: scalar, and the specification of the vector kernels of every instruction set.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/float16.h"
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

void set_sums(ActivationGroup& group) noexcept {
  for (int s = 0; s < 16; ++s) {
    int sum = 0;
    for (int i = 0; i < 16; ++i) sum += group.q[16 * s + i];
    group.sums[s] = static_cast<int16_t>(sum);
  }
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
    set_sums(group);
  }
}

void quantize_q8_super(const float* x, ActivationGroup* out, int64_t k) noexcept {
  for (int64_t base = 0; base < k; base += 256) {
    ActivationGroup& group = out[base / 256];
    const float d = quantize_one(x + base, group.q, 256);
    for (float& each : group.d) each = d;
    set_sums(group);
  }
}

float quantize_i8(const float* x, int8_t* q, int64_t n) noexcept {
  return quantize_one(x, q, n);
}

void convert_f32_to_f16(const float* x, uint16_t* out, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) out[i] = f32_to_f16(x[i]);
}

float sum_of_squares(const float* x, int64_t n) noexcept {
  float sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

void scale_by_weight(const float* x, const float* weight, float scale, float* out, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

void add(float* x, const float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

void silu_mul(float* gate, const float* up, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) gate[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void scores_f16(const ScoresArgs& a) noexcept {
  const auto* k = static_cast<const uint16_t*>(a.k);
  const auto* q = static_cast<const float*>(a.q);
  for (int64_t i = 0; i < a.n_q; ++i) {
    for (int64_t j = 0; j < a.n_tiles * kKeyLanes; ++j) {
      const uint16_t* lane = k + j / kKeyLanes * a.dim * kKeyLanes + j % kKeyLanes;
      float dot = 0.0f;
      for (int64_t d = 0; d < a.dim; ++d) dot += q[i * a.dim + d] * f16_to_f32(lane[d * kKeyLanes]);
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
  const float keep = std::exp2(row.max - max);
  float sum = 0.0f;
  uint32_t largest = 0;
  for (int64_t j = 0; j < row.n; ++j) {
    if (j < row.begin || j >= row.end) {
      row.scores[j] = 0.0f;
      continue;
    }
    row.scores[j] = std::exp2(row.scores[j] - max);
    sum += row.scores[j];
    if (row.v_scale != nullptr) row.scores[j] *= row.v_scale[j];
    largest = std::max(largest, std::bit_cast<uint32_t>(row.scores[j]) & 0x7FFFFFFFu);
  }
  row.max = max;
  row.sum = row.sum * keep + sum;
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
      for (int64_t j = 0; j < a.n_keys; ++j) sum += weights[i * kKeyBlock + j] * f16_to_f32(v[j * a.dim + d]);
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
      out = out * a.keep[i] + static_cast<float>(sum) * a.weight_scale[i];
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
                                     mix_i8};

}  // namespace thimble::kernels
