// Attention rows, written once against both vocabularies (simd_<isa>.h and simd_float_<isa>.h, included before this
// header). Scores put one key in each lane and walk over the head dimension, so no sum crosses lanes; mixing puts one
// dimension in each lane and walks over the keys. Each output has one fixed order of operations.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/vector_kernel.h"

namespace thimble::kernels {
namespace {

// Queries that share one pass over unpacked keys.
constexpr int kScoreQueries = 4;

// Up to kLanes keys; lanes past the last one repeat it.
template <typename Element>
inline void set_key_rows(const ScoresArgs& a, int64_t key, PanelRows& rows) noexcept {
  const auto* k = static_cast<const Element*>(a.k);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    const int64_t clamped = key + lane < a.n_keys ? key + lane : a.n_keys - 1;
    rows.row[lane] = reinterpret_cast<const uint8_t*>(k + clamped * a.k_stride);
  }
  rows.ahead =
      reinterpret_cast<uintptr_t>(rows.row[0]) + static_cast<uintptr_t>(2 * kLanes * a.k_stride) * sizeof(Element);
}

inline void store_scores(const ScoresArgs& a, int64_t query, int64_t key, Floats v) noexcept {
  float* out = a.scores + query * a.scores_stride + key;
  if (a.n_keys - key >= kLanes) {
    store_floats_unaligned(out, v);
    return;
  }
  alignas(64) float values[kLanes];
  store_floats(values, v);
  for (int64_t j = 0; j < a.n_keys - key; ++j) out[j] = values[j];
}

// ---- f16 keys

// Dimensions of keys unpacked at a time: 8 KiB of floats at 16 lanes.
constexpr int64_t kKeyDims = 128;

// Dimensions [begin, end) of kLanes keys as floats: keys[(d - begin) * kLanes + lane].
inline void unpack_f16_keys(PanelRows& rows, int64_t begin, int64_t end, float* keys) noexcept {
  int64_t d = begin;
  for (; d + 8 <= end; d += 8) {
    Ints chunk[4];
    load_chunk(rows, static_cast<size_t>(d) * sizeof(uint16_t), chunk);
    float* at = keys + (d - begin) * kLanes;
    for (int t = 0; t < 4; ++t) {
      store_floats(at + (2 * t) * kLanes, half_to_floats(chunk[t]));
      store_floats(at + (2 * t + 1) * kLanes, half_to_floats(shr(chunk[t], 16)));
    }
  }
  for (; d < end; ++d) {
    alignas(64) uint32_t values[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      uint16_t half = 0;
      __builtin_memcpy(&half, rows.row[lane] + static_cast<size_t>(d) * sizeof half, sizeof half);
      values[lane] = half;
    }
    store_floats(keys + (d - begin) * kLanes, half_to_floats(load_ints(values)));
  }
}

template <int kQueries>
inline void multiply_f16_keys(const float* q, int64_t q_stride, int64_t n, const float* keys, float* sums) noexcept {
  Floats total[kQueries];
#pragma GCC unroll 4
  for (int i = 0; i < kQueries; ++i) total[i] = load_floats(sums + i * kLanes);
  for (int64_t d = 0; d < n; ++d) {
    const Floats key = load_floats(keys + d * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < kQueries; ++i) total[i] = vec_fma(splat_float(q[i * q_stride + d]), key, total[i]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kQueries; ++i) store_floats(sums + i * kLanes, total[i]);
}

// Scores of queries [first, first + n_q), n_q <= 8, with the kLanes keys from `key` on.
inline void score_f16_lanes(const ScoresArgs& a, int64_t key, int64_t first, int64_t n_q) noexcept {
  alignas(64) float sums[8 * kLanes];
  alignas(64) float keys[kKeyDims * kLanes];
  PanelRows rows;
  set_key_rows<uint16_t>(a, key, rows);
  for (int64_t i = 0; i < n_q; ++i) store_floats(sums + i * kLanes, splat_float(0.0f));
  const float* q = static_cast<const float*>(a.q) + first * a.dim;
  for (int64_t begin = 0; begin < a.dim; begin += kKeyDims) {
    const int64_t end = begin + kKeyDims < a.dim ? begin + kKeyDims : a.dim;
    unpack_f16_keys(rows, begin, end, keys);
    int64_t i = 0;
    for (; i + kScoreQueries <= n_q; i += kScoreQueries) {
      multiply_f16_keys<kScoreQueries>(q + i * a.dim + begin, a.dim, end - begin, keys, sums + i * kLanes);
    }
    for (; i < n_q; ++i) multiply_f16_keys<1>(q + i * a.dim + begin, a.dim, end - begin, keys, sums + i * kLanes);
  }
  for (int64_t i = 0; i < n_q; ++i) {
    store_scores(a, first + i, key, mul_floats(load_floats(sums + i * kLanes), splat_float(a.scale)));
  }
}

inline void scores_f16_rows(const ScoresArgs& a) noexcept {
  for (int64_t key = 0; key < a.n_keys; key += kLanes) {
    for (int64_t first = 0; first < a.n_q; first += 8) {
      score_f16_lanes(a, key, first, a.n_q - first < 8 ? a.n_q - first : 8);
    }
  }
}

// ---- int8 keys

struct SignedKeys {
  static constexpr bool kSigned = true;
  static constexpr int kMaxByte = 128;
};

// Integer dot products of kQueries queries with 16 dimensions of kLanes keys (w: four steps).
template <int kQueries>
inline void multiply_i8_keys(const uint8_t* w, const int8_t* q, int64_t q_stride, int32_t* sums) noexcept {
  Ints total[kQueries];
  const int8_t* rows[kQueries];
  for (int i = 0; i < kQueries; ++i) {
    total[i] = load_ints(sums + i * kLanes);
    rows[i] = q + i * q_stride;
    if (!kUnsignedWeightsOnly) continue;
    int sum = 0;
    for (int d = 0; d < 16; ++d) sum += rows[i][d];
    total[i] = sub_ints(total[i], splat(static_cast<uint32_t>(128 * sum)));
  }
  dot_steps<SignedKeys, 4, kQueries, false>(w, rows, 0, splat(0), total);
  for (int i = 0; i < kQueries; ++i) store_ints(sums + i * kLanes, total[i]);
}

// The dimensions past a multiple of 16.
inline void add_i8_tail(const PanelRows& rows, const int8_t* q, int64_t begin, int64_t dim, int32_t* sums) noexcept {
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto* k = reinterpret_cast<const int8_t*>(rows.row[lane]);
    for (int64_t d = begin; d < dim; ++d) sums[lane] += q[d] * k[d];
  }
}

inline void score_i8_lanes(const ScoresArgs& a, int64_t key, int64_t first, int64_t n_q) noexcept {
  alignas(64) int32_t sums[8 * kLanes];
  alignas(64) uint8_t w[16 * kLanes];
  PanelRows rows;
  set_key_rows<int8_t>(a, key, rows);
  for (int64_t i = 0; i < n_q; ++i) store_ints(sums + i * kLanes, splat(0));
  const int8_t* q = static_cast<const int8_t*>(a.q) + first * a.dim;
  int64_t d = 0;
  for (; d + 16 <= a.dim; d += 16) {
    Ints chunk[4];
    load_chunk(rows, static_cast<size_t>(d), chunk);
    for (int t = 0; t < 4; ++t) {
      store_ints(w + 4 * kLanes * t, kUnsignedWeightsOnly ? bit_xor(chunk[t], splat(0x80808080u)) : chunk[t]);
    }
    int64_t i = 0;
    for (; i + kScoreQueries <= n_q; i += kScoreQueries) {
      multiply_i8_keys<kScoreQueries>(w, q + i * a.dim + d, a.dim, sums + i * kLanes);
    }
    for (; i < n_q; ++i) multiply_i8_keys<1>(w, q + i * a.dim + d, a.dim, sums + i * kLanes);
  }
  alignas(64) float k_scales[kLanes];
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    k_scales[lane] = a.k_scale[(key + lane < a.n_keys ? key + lane : a.n_keys - 1) * a.k_scale_stride];
  }
  for (int64_t i = 0; i < n_q; ++i) {
    if (d < a.dim) add_i8_tail(rows, q + i * a.dim, d, a.dim, sums + i * kLanes);
    const Floats scale = mul_floats(load_floats(k_scales), splat_float(a.q_scale[first + i] * a.scale));
    store_scores(a, first + i, key, mul_floats(to_floats(load_ints(sums + i * kLanes)), scale));
  }
}

inline void scores_i8_rows(const ScoresArgs& a) noexcept {
  for (int64_t key = 0; key < a.n_keys; key += kLanes) {
    for (int64_t first = 0; first < a.n_q; first += 8) {
      score_i8_lanes(a, key, first, a.n_q - first < 8 ? a.n_q - first : 8);
    }
  }
}

// ---- mixing values

struct ValuesF16 {
  using Element = uint16_t;
  static constexpr bool kScaled = false;
  static Vec load(const uint16_t* p) noexcept { return vec_load_f16(p); }
  static Vec load_part(const uint16_t* p, int64_t n) noexcept { return vec_load_f16_part(p, n); }
};
struct ValuesI8 {
  using Element = int8_t;
  static constexpr bool kScaled = true;
  static Vec load(const int8_t* p) noexcept { return vec_load_i8(p); }
  static Vec load_part(const int8_t* p, int64_t n) noexcept { return vec_load_i8_part(p, n); }
};

// kQueries x kVecs registers of outputs over all keys, dimensions from `d` on.
template <class Values, int kQueries, int kVecs>
inline void mix_tile(const MixArgs& a, int64_t first, int64_t d) noexcept {
  const auto* v = static_cast<const typename Values::Element*>(a.v) + d;
  float* out = a.out + first * a.dim + d;
  const float* weights = a.weights + first * a.weights_stride;
  Vec sums[kQueries * kVecs];
#pragma GCC unroll 16
  for (int i = 0; i < kQueries * kVecs; ++i) sums[i] = vec_load(out + (i / kVecs) * a.dim + (i % kVecs) * kWidth);
  for (int64_t j = 0; j < a.n_keys; ++j) {
    const auto* row = v + j * a.v_stride;
    const float scale = Values::kScaled ? a.v_scale[j * a.v_scale_stride] : 1.0f;
    Vec values[kVecs];
#pragma GCC unroll 4
    for (int t = 0; t < kVecs; ++t) values[t] = Values::load(row + t * kWidth);
#pragma GCC unroll 4
    for (int i = 0; i < kQueries; ++i) {
      const float weight = weights[i * a.weights_stride + j];
      const Vec factor = vec_splat(Values::kScaled ? weight * scale : weight);
#pragma GCC unroll 4
      for (int t = 0; t < kVecs; ++t) sums[i * kVecs + t] = vec_fma(factor, values[t], sums[i * kVecs + t]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kQueries * kVecs; ++i) vec_store(out + (i / kVecs) * a.dim + (i % kVecs) * kWidth, sums[i]);
}

// The last dimensions, fewer than a register.
template <class Values>
inline void mix_tail(const MixArgs& a, int64_t query, int64_t d) noexcept {
  const int64_t n = a.dim - d;
  const auto* v = static_cast<const typename Values::Element*>(a.v) + d;
  float* out = a.out + query * a.dim + d;
  Vec sum = vec_load_part(out, n);
  for (int64_t j = 0; j < a.n_keys; ++j) {
    const float weight = a.weights[query * a.weights_stride + j];
    const float factor = Values::kScaled ? weight * a.v_scale[j * a.v_scale_stride] : weight;
    sum = vec_fma(vec_splat(factor), Values::load_part(v + j * a.v_stride, n), sum);
  }
  vec_store_part(out, sum, n);
}

template <class Values, int kQueries>
inline void mix_queries(const MixArgs& a, int64_t first) noexcept {
  constexpr int kVecs = kMixVecs;
  int64_t d = 0;
  for (; d + kVecs * kWidth <= a.dim; d += kVecs * kWidth) mix_tile<Values, kQueries, kVecs>(a, first, d);
  for (; d + kWidth <= a.dim; d += kWidth) mix_tile<Values, kQueries, 1>(a, first, d);
  if (d == a.dim) return;
  for (int i = 0; i < kQueries; ++i) mix_tail<Values>(a, first + i, d);
}

template <class Values>
inline void mix_rows(const MixArgs& a) noexcept {
  int64_t i = 0;
  for (; i + 4 <= a.n_q; i += 4) mix_queries<Values, 4>(a, i);
  for (; i < a.n_q; ++i) mix_queries<Values, 1>(a, i);
}

}  // namespace
}  // namespace thimble::kernels
