// Input conditioning of the encoders.
#include "tensor/encode_input.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/float16.h"

namespace thimble {

namespace {

constexpr float kLargestFloat = std::numeric_limits<float>::max();

float finite_magnitude(float value) noexcept {
  const float magnitude = std::fabs(value);
  return magnitude <= kLargestFloat ? magnitude : (magnitude > kLargestFloat ? kLargestFloat : 0.0f);
}

// 2^exponent of the largest magnitude, 0 below 2^-40.
float block_magnitude(const float* x, int64_t n) noexcept {
  float largest = 0.0f;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, finite_magnitude(x[i]));
  if (!(largest >= 0x1p-40f)) return 0.0f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(largest) & 0x7F800000u);
}

}  // namespace

float normalize_block(const float* x, int n, float* out) noexcept {
  const float magnitude = block_magnitude(x, n);
  if (magnitude == 0.0f) {
    std::fill(out, out + n, 0.0f);
    return 0.0f;
  }
  const float inverse = 1.0f / magnitude;  // exact; 2^-127 is a denormal, but still exact
  for (int i = 0; i < n; ++i) out[i] = std::copysign(finite_magnitude(x[i]), x[i]) * inverse;
  return magnitude;
}

double row_rms(const float* x, int64_t n) noexcept {
  if (n <= 0) return 0.0;
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double value = finite_magnitude(x[i]);
    sum += value * value;
  }
  return std::sqrt(sum / static_cast<double>(n));
}

void fill_weights(const float* importance, int n, float* weights) noexcept {
  double sum = 0.0;
  if (importance != nullptr) {
    for (int i = 0; i < n; ++i) {
      weights[i] = importance[i] > 0.0f && importance[i] <= kLargestFloat ? importance[i] : 0.0f;
      sum += weights[i];
    }
  }
  if (!(sum > 0.0)) {
    std::fill(weights, weights + n, 1.0f);
    return;
  }
  constexpr double kDeadChannel = 1e-6;
  const double inverse_mean = n / sum;
  for (int i = 0; i < n; ++i) weights[i] = static_cast<float>(weights[i] * inverse_mean + kDeadChannel);
}

void favor_large_elements(const float* x, int n, float sigma2, float* weights) noexcept {
  for (int i = 0; i < n; ++i) weights[i] *= std::sqrt(sigma2 + x[i] * x[i]);
}

float mean_square(const float* x, int n) noexcept {
  float sum = 0.0f;
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum / static_cast<float>(n);
}

uint16_t scale_to_f16(float scale) noexcept {
  constexpr float kLargestHalf = 65504.0f;
  if (!(std::fabs(scale) <= kLargestHalf)) scale = std::isnan(scale) ? 0.0f : std::copysign(kLargestHalf, scale);
  return f32_to_f16(scale);
}

uint16_t super_scale_to_f16(float scale) noexcept {
  const uint16_t half = scale_to_f16(scale);
  // Consecutive bit patterns are consecutive magnitudes. Below 2^-33 even the largest sub-scale (128 in Q6_K) stays
  // under half of the smallest scale, so there is nothing to gain.
  const bool small = (half & 0x7FFFu) < 64u && std::fabs(scale) >= 0x1p-33f;
  const bool too_small = std::fabs(f16_to_f32(half)) < std::fabs(scale);
  return small && too_small ? static_cast<uint16_t>(half + 1u) : half;
}

}  // namespace thimble
