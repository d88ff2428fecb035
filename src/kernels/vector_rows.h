// Row operations, written once against the float vocabulary (simd_float_<isa>.h, included before this header).
// Contracts are in vector_kernel.h, the reference in vector_scalar.cpp. Quantization is bit-equal to the reference.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/group_sums.h"
#include "kernels/matmul_args.h"
#include "kernels/vector_sum.h"

namespace thimble::kernels {
namespace {

// Calls full(i) for whole registers and part(i, n) for what is left.
template <typename Full, typename Part>
inline void over_row(int64_t n, const Full& full, const Part& part) noexcept {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) full(i);
  if (i < n) part(i, n - i);
}

inline float bits_to_float(uint32_t bits) noexcept {
  float value = 0.0f;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// ---- int8 quantization

inline float quantize_row(const float* x, int8_t* q, int64_t n) noexcept {
  IntVec largest = int_zero();
  over_row(
      n, [&](int64_t i) { largest = int_max(largest, vec_magnitude_bits(vec_load(x + i))); },
      [&](int64_t i, int64_t left) { largest = int_max(largest, vec_magnitude_bits(vec_load_part(x + i, left))); });
  const uint32_t bits = int_largest(largest);
  const float max = bits_to_float(bits);
  constexpr uint32_t kInfinityBits = 0x7F800000u;
  if (bits >= kInfinityBits || max < 0x1p-100f) {
    __builtin_memset(q, 0, static_cast<size_t>(n));
    return bits >= kInfinityBits ? bits_to_float(0x7FC00000u) : 0.0f;
  }
  const Vec inverse = vec_splat(127.0f / max);
  over_row(
      n, [&](int64_t i) { int_store_i8(q + i, vec_round(vec_mul(vec_load(x + i), inverse))); },
      [&](int64_t i, int64_t left) {
        int8_t values[kWidth];
        int_store_i8(values, vec_round(vec_mul(vec_load_part(x + i, left), inverse)));
        __builtin_memcpy(q + i, values, static_cast<size_t>(left));
      });
  return max / 127.0f;
}

inline void quantize_q8_block_rows(const float* x, ActivationGroup* out, int64_t k) noexcept {
  for (int64_t base = 0; base < k; base += 256) {
    ActivationGroup& group = out[base / 256];
    for (int64_t s = 0; s < 8; ++s) {
      group.d[s] = 0.0f;
      if (base + 32 * s < k) {
        group.d[s] = quantize_row(x + base + 32 * s, group.q + 32 * s, 32);
      } else {
        __builtin_memset(group.q + 32 * s, 0, 32);
      }
    }
    set_sums(group, false);
  }
}

inline void quantize_q8_super_rows(const float* x, ActivationGroup* out, int64_t k) noexcept {
  for (int64_t base = 0; base < k; base += 256) {
    ActivationGroup& group = out[base / 256];
    const float d = quantize_row(x + base, group.q, 256);
    for (float& each : group.d) each = d;
    set_sums(group, true);
  }
}

inline void convert_to_f16(const float* x, uint16_t* out, int64_t n) noexcept {
  over_row(
      n, [&](int64_t i) { vec_store_f16(out + i, vec_load(x + i)); },
      [&](int64_t i, int64_t left) {
        uint16_t values[kWidth];
        vec_store_f16(values, vec_load_part(x + i, left));
        __builtin_memcpy(out + i, values, static_cast<size_t>(left) * sizeof(uint16_t));
      });
}

// ---- elementwise

inline float sum_squares(const float* x, int64_t n) noexcept {
  Vec parts[kSumVecs];
#pragma GCC unroll 4
  for (Vec& part : parts) part = vec_splat(0.0f);
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
#pragma GCC unroll 4
    for (int t = 0; t < kSumVecs; ++t) {
      const Vec v = vec_load(x + i + t * kWidth);
      parts[t] = vec_fma(v, v, parts[t]);
    }
  }
  for (int t = 0; i < n; ++t, i += kWidth) {
    const Vec v = n - i >= kWidth ? vec_load(x + i) : vec_load_part(x + i, n - i);
    parts[t] = vec_fma(v, v, parts[t]);
  }
  return total_of(parts);
}

inline void scale_rows(const float* x, const float* weight, float scale, float* out, int64_t n) noexcept {
  const Vec factor = vec_splat(scale);
  over_row(
      n, [&](int64_t i) { vec_store(out + i, vec_mul(vec_mul(vec_load(x + i), factor), vec_load(weight + i))); },
      [&](int64_t i, int64_t left) {
        const Vec scaled = vec_mul(vec_load_part(x + i, left), factor);
        vec_store_part(out + i, vec_mul(scaled, vec_load_part(weight + i, left)), left);
      });
}

inline void add_rows(float* x, const float* y, int64_t n) noexcept {
  over_row(
      n, [&](int64_t i) { vec_store(x + i, vec_add(vec_load(x + i), vec_load(y + i))); },
      [&](int64_t i, int64_t left) {
        vec_store_part(x + i, vec_add(vec_load_part(x + i, left), vec_load_part(y + i, left)), left);
      });
}

// kVectors registers of x from element i on.
template <int kVectors>
inline void add_scaled_vectors(float* x, const ScaledRow* rows, int64_t n_rows, int64_t i) noexcept {
  Vec sums[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = vec_load(x + i + v * kWidth);
  for (int64_t r = 0; r < n_rows; ++r) {
    const Vec scale = vec_splat(rows[r].scale);
    const float* const values = rows[r].values + i;
    for (int v = 0; v < kVectors; ++v) sums[v] = vec_add(sums[v], vec_mul(scale, vec_load(values + v * kWidth)));
  }
  for (int v = 0; v < kVectors; ++v) vec_store(x + i + v * kWidth, sums[v]);
}

inline void add_scaled(float* x, int64_t n, const ScaledRow* rows, int64_t n_rows) noexcept {
  int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) add_scaled_vectors<4>(x, rows, n_rows, i);
  for (; i + kWidth <= n; i += kWidth) add_scaled_vectors<1>(x, rows, n_rows, i);
  if (i == n) return;
  Vec sum = vec_load_part(x + i, n - i);
  for (int64_t r = 0; r < n_rows; ++r) {
    sum = vec_add(sum, vec_mul(vec_splat(rows[r].scale), vec_load_part(rows[r].values + i, n - i)));
  }
  vec_store_part(x + i, sum, n - i);
}

// e^x: x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial of degree 7 in r (coefficients of Cephes expf, relative
// error below 2e-7). Above 88.37 (where n would need an exponent past 127) the result is infinity, below -87.33 zero:
// silu wants nothing finer there. NaN stays NaN.
inline Vec vec_exp(Vec x) noexcept {
  const IntVec n = vec_round(vec_mul(x, vec_splat(1.44269504088896341f)));
  const Vec whole = int_to_vec(n);
  Vec r = vec_fma(whole, vec_splat(-0.693359375f), x);
  r = vec_fma(whole, vec_splat(2.12194440e-4f), r);
  Vec p = vec_splat(1.9875691500e-4f);
  p = vec_fma(p, r, vec_splat(1.3981999507e-3f));
  p = vec_fma(p, r, vec_splat(8.3334519073e-3f));
  p = vec_fma(p, r, vec_splat(4.1665795894e-2f));
  p = vec_fma(p, r, vec_splat(1.6666665459e-1f));
  p = vec_fma(p, r, vec_splat(5.0000001201e-1f));
  p = vec_add(vec_fma(p, vec_mul(r, r), r), vec_splat(1.0f));
  const Vec result = vec_mul(p, int_exp2(n));
  const Vec bounded = vec_where_above(x, vec_splat(88.37f), vec_splat(__builtin_inff()), result);
  return vec_where_above(vec_splat(-87.33f), x, vec_splat(0.0f), bounded);
}

inline Vec silu_times(Vec gate, Vec up) noexcept {
  const Vec one = vec_splat(1.0f);
  const Vec negative = vec_sub(vec_splat(0.0f), gate);
  return vec_mul(vec_div(gate, vec_add(one, vec_exp(negative))), up);
}

inline void silu_mul_rows(float* gate, const float* up, int64_t n) noexcept {
  over_row(
      n, [&](int64_t i) { vec_store(gate + i, silu_times(vec_load(gate + i), vec_load(up + i))); },
      [&](int64_t i, int64_t left) {
        vec_store_part(gate + i, silu_times(vec_load_part(gate + i, left), vec_load_part(up + i, left)), left);
      });
}

}  // namespace
}  // namespace thimble::kernels
