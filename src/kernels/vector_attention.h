// Attention over a block of keys, written once against two vocabularies (simd_float_<isa>.h and simd_attention_<isa>.h,
// included before this header). Scores put one key in each lane and walk over the head dimension, mixing puts one
// dimension in each lane and walks over the keys: no sum crosses lanes. Each result has one order of operations,
// however many rows share the work. Contracts are in vector_kernel.h, the reference in vector_scalar.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ask_ahead.h"
#include "kernels/vector_kernel.h"
#include "kernels/vector_sum.h"

namespace thimble::kernels {
namespace {

constexpr int kTileVecs = static_cast<int>(kKeyLanes) / kWidth;  // registers of one number for each key of a tile

// Calls apply.operator()<kRows>(first) for strips of at most kMax of n rows.
template <int kMax, typename Apply>
inline void over_strips(int64_t n, int64_t first, const Apply& apply) noexcept {
  for (; n - first >= kMax; first += kMax) apply.template operator()<kMax>(first);
  if constexpr (kMax > 1) {
    if (first < n) over_strips<kMax - 1>(n, first, apply);
  }
}

// ---- scores

// kRows queries against kTiles neighbouring tiles of keys.
template <int kRows, int kTiles>
inline void score_f16_tiles(const uint16_t* k, const float* q, int64_t dim, float* scores) noexcept {
  constexpr int kVecs = kTiles * kTileVecs;
  Vec sums[kRows * kVecs];
#pragma GCC unroll 32
  for (int i = 0; i < kRows * kVecs; ++i) sums[i] = vec_splat(0.0f);
  for (int64_t d = 0; d < dim; ++d) {
    Vec keys[kVecs];
#pragma GCC unroll 8
    for (int t = 0; t < kVecs; ++t) {
      keys[t] = vec_load_f16(k + (t / kTileVecs) * dim * kKeyLanes + d * kKeyLanes + (t % kTileVecs) * kWidth);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vec x = vec_splat(q[i * dim + d]);
#pragma GCC unroll 8
      for (int t = 0; t < kVecs; ++t) sums[i * kVecs + t] = vec_fma(x, keys[t], sums[i * kVecs + t]);
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < kRows * kVecs; ++i) vec_store(scores + (i / kVecs) * kKeyBlock + (i % kVecs) * kWidth, sums[i]);
}

inline void scores_f16_block(const ScoresArgs& a) noexcept {
  const auto* k = static_cast<const uint16_t*>(a.k);
  const auto* q = static_cast<const float*>(a.q);
  const int64_t tile = a.dim * kKeyLanes;
  const auto score = [&]<int kTiles>(int64_t t) {
    if (a.ahead != nullptr) ask_ahead(a.ahead, t * tile * 2, kTiles * tile * 2);
    over_strips<kScoreRows>(a.n_q, 0, [&]<int kRows>(int64_t i) {
      score_f16_tiles<kRows, kTiles>(k + t * tile, q + i * a.dim, a.dim, a.scores + i * kKeyBlock + t * kKeyLanes);
    });
  };
  // One sum waits for the one before it: few queries need several tiles to keep the multipliers busy.
  int64_t t = 0;
  if (a.n_q * kTileVecs < 4) {
    for (; t + kFewRowsTiles <= a.n_tiles; t += kFewRowsTiles) score.template operator()<kFewRowsTiles>(t);
  }
  for (; t < a.n_tiles; ++t) score.template operator()<1>(t);
}

template <int kRows>
inline void score_i8_tile(const ScoresArgs& a, const int32_t* offsets, int64_t tile, int64_t first) noexcept {
  IntVec sums[kRows * kTileVecs];
  dot_keys<kRows>(static_cast<const int8_t*>(a.k) + tile * a.dim * kKeyLanes,
                  static_cast<const int8_t*>(a.q) + first * a.dim, a.dim, offsets + first, sums);
  float* scores = a.scores + first * kKeyBlock + tile * kKeyLanes;
#pragma GCC unroll 32
  for (int i = 0; i < kRows * kTileVecs; ++i) {
    const int lane = (i % kTileVecs) * kWidth;
    const Vec scale =
        vec_mul(vec_load(a.k_scale + tile * kKeyLanes + lane), vec_splat(a.q_scale[first + i / kTileVecs]));
    vec_store(scores + (i / kTileVecs) * kKeyBlock + lane, vec_mul(int_to_vec(sums[i]), scale));
  }
}

inline void scores_i8_block(const ScoresArgs& a) noexcept {
  int32_t offsets[kStripRows];
  for (int64_t i = 0; i < a.n_q; ++i) offsets[i] = dot_offset(static_cast<const int8_t*>(a.q) + i * a.dim, a.dim);
  const int64_t tile_bytes = a.dim * kKeyLanes;
  for (int64_t t = 0; t < a.n_tiles; ++t) {
    if (a.ahead != nullptr) ask_ahead(a.ahead, t * tile_bytes, tile_bytes);
    over_strips<kDotRows>(a.n_q, 0, [&]<int kRows>(int64_t i) { score_i8_tile<kRows>(a, offsets, t, i); });
  }
}

// ---- softmax

// 2^x for x <= 0: x = n + r with |r| <= 1/2, then the polynomial of degree 5 with p(0) = 1 whose largest relative error
// is smallest (4.4e-7, found by Remez exchange). Results below 2^-126 are 2^-126; NaN stays NaN.
constexpr float kLeastExponent = -126.0f;
inline Vec vec_exp2(Vec x) noexcept {
  const Vec bounded = vec_max(vec_splat(kLeastExponent), x);
  const Vec n = whole_part(bounded);
  const Vec r = vec_sub(bounded, n);
  Vec p = vec_splat(1.1125701e-3f);
  p = vec_fma(p, r, vec_splat(9.6662825e-3f));
  p = vec_fma(p, r, vec_splat(5.5573999e-2f));
  p = vec_fma(p, r, vec_splat(2.4022351e-1f));
  p = vec_fma(p, r, vec_splat(6.9314283e-1f));
  p = vec_fma(p, r, vec_splat(1.0f));
  return times_power_of_2(p, n);
}

inline float first_lane(Vec v) noexcept {
  alignas(64) float values[kWidth];
  vec_store(values, v);
  return values[0];
}

alignas(64) constexpr float kLaneNumbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// `v` in the lanes of keys [begin, end), `other` elsewhere; lane 0 is key j.
inline Vec keep_seen(const SoftmaxRow& row, int64_t j, Vec v, Vec other) noexcept {
  const Vec lane = vec_load(kLaneNumbers);
  const Vec before_end = vec_where_above(vec_splat(static_cast<float>(row.end - j) - 0.5f), lane, v, other);
  return vec_where_above(lane, vec_splat(static_cast<float>(row.begin - j) - 0.5f), before_end, other);
}

inline bool all_seen(const SoftmaxRow& row, int64_t j) noexcept {
  return j >= row.begin && j + kWidth <= row.end;
}

template <bool kScaled>
inline float soften_keys(SoftmaxRow& row) noexcept {
  const Vec lowest = vec_splat(-__builtin_inff());
  const Vec zero = vec_splat(0.0f);
  Vec largest = vec_splat(row.max);
  for (int64_t j = 0; j < row.n; j += kWidth) {
    const Vec x = vec_load(row.scores + j);
    largest = vec_max(largest, all_seen(row, j) ? x : keep_seen(row, j, x, lowest));
  }
  const float max = vec_largest(largest);
  const float keep = row.max > -__builtin_inff() ? first_lane(vec_exp2(vec_splat(row.max - max))) : 0.0f;
  const Vec offset = vec_splat(max);
  Vec sums[kSumVecs];
#pragma GCC unroll 4
  for (Vec& sum : sums) sum = zero;
  IntVec largest_bits = int_zero();
  for (int64_t first = 0; first < row.n; first += kSumLanes) {
#pragma GCC unroll 4
    for (int t = 0; t < kSumVecs; ++t) {
      const int64_t j = first + t * kWidth;
      const bool all = all_seen(row, j);
      Vec e = vec_exp2(vec_sub(vec_load(row.scores + j), offset));
      if (!all) e = keep_seen(row, j, e, zero);
      sums[t] = vec_add(sums[t], e);
      if constexpr (kScaled) {
        e = vec_mul(e, vec_load(row.v_scale + j));
        if (!all) e = keep_seen(row, j, e, zero);
        largest_bits = int_max(largest_bits, vec_magnitude_bits(e));
      }
      vec_store(row.scores + j, e);
    }
  }
  row.max = max;
  row.sum = row.sum * keep + total_of(sums);
  const uint32_t bits = int_largest(largest_bits);
  __builtin_memcpy(&row.largest, &bits, sizeof bits);
  return keep;
}

inline float soften_row(SoftmaxRow& row) noexcept {
  return row.v_scale != nullptr ? soften_keys<true>(row) : soften_keys<false>(row);
}

inline float round_weights_row(const float* x, float largest, int64_t n, void* weights) noexcept {
  const bool finite = largest < __builtin_inff();
  if (!finite || largest < 0x1p-100f) {
    for (int64_t j = 0; j < n; j += kWidth) store_weights(weights, j, int_zero());
    return finite ? 0.0f : __builtin_nanf("");
  }
  const Vec inverse = vec_splat(static_cast<float>(kMaxWeight) / largest);
  for (int64_t j = 0; j < n; j += kWidth) {
    store_weights(weights, j, vec_round(vec_mul(vec_load(x + j), inverse)));
  }
  return largest / static_cast<float>(kMaxWeight);
}

// ---- mixing values

// kRows x kVecs registers of outputs, dimensions from `d` on.
template <int kRows, int kVecs>
inline void mix_f16_tile(const MixArgs& a, int64_t first, int64_t d, const void* ahead) noexcept {
  const auto* v = static_cast<const uint16_t*>(a.v) + d;
  const float* weights = static_cast<const float*>(a.weights) + first * kKeyBlock;
  float* out = a.out + first * a.dim + d;
  Vec sums[kRows * kVecs];
#pragma GCC unroll 32
  for (int i = 0; i < kRows * kVecs; ++i) {
    sums[i] = vec_mul(vec_load(out + (i / kVecs) * a.dim + (i % kVecs) * kWidth), vec_splat(a.keep[first + i / kVecs]));
  }
  for (int64_t j = 0; j < a.n_keys; ++j) {
    if (ahead != nullptr) ask_ahead(ahead, j * a.dim * 2, a.dim * 2);
    Vec values[kVecs];
#pragma GCC unroll 8
    for (int t = 0; t < kVecs; ++t) values[t] = vec_load_f16(v + j * a.dim + t * kWidth);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vec weight = vec_splat(weights[i * kKeyBlock + j]);
#pragma GCC unroll 8
      for (int t = 0; t < kVecs; ++t) sums[i * kVecs + t] = vec_fma(weight, values[t], sums[i * kVecs + t]);
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < kRows * kVecs; ++i) vec_store(out + (i / kVecs) * a.dim + (i % kVecs) * kWidth, sums[i]);
}

template <int kRows, int kVecs>
inline void mix_i8_tile(const MixArgs& a, int64_t first, int64_t d, const void* ahead) noexcept {
  IntVec sums[kRows * kVecs];
  dot_values<kRows, kVecs>(a, first, d, ahead, sums);
  float* out = a.out + first * a.dim + d;
#pragma GCC unroll 32
  for (int i = 0; i < kRows * kVecs; ++i) {
    float* at = out + (i / kVecs) * a.dim + (i % kVecs) * kWidth;
    const Vec kept = vec_mul(vec_load(at), vec_splat(a.keep[first + i / kVecs]));
    vec_store(at, vec_fma(int_to_vec(sums[i]), vec_splat(a.weight_scale[first + i / kVecs]), kept));
  }
}

// Calls tile.operator()<kRows, kVecs>(first row, dimension, memory to ask for): whole groups of kMaxVecs registers,
// then single ones. Only the first call over the keys asks.
template <int kMaxRows, int kMaxVecs, typename Tile>
inline void over_outputs(const MixArgs& a, const Tile& tile) noexcept {
  int64_t d = 0;
  const auto ask = [&](int64_t i) { return d == 0 && i == 0 ? a.ahead : nullptr; };
  for (; d + kMaxVecs * kWidth <= a.dim; d += kMaxVecs * kWidth) {
    over_strips<kMaxRows>(a.n_q, 0,
                          [&]<int kRows>(int64_t i) { tile.template operator()<kRows, kMaxVecs>(i, d, ask(i)); });
  }
  for (; d < a.dim; d += kWidth) {
    over_strips<kMaxRows>(a.n_q, 0, [&]<int kRows>(int64_t i) { tile.template operator()<kRows, 1>(i, d, ask(i)); });
  }
}

inline void mix_f16_block(const MixArgs& a) noexcept {
  over_outputs<kFloatMixRows, kFloatMixVecs>(a, [&]<int kRows, int kVecs>(int64_t i, int64_t d, const void* ahead) {
    mix_f16_tile<kRows, kVecs>(a, i, d, ahead);
  });
}

inline void mix_i8_block(const MixArgs& a) noexcept {
  over_outputs<kDotMixRows, kDotMixVecs>(a, [&]<int kRows, int kVecs>(int64_t i, int64_t d, const void* ahead) {
    mix_i8_tile<kRows, kVecs>(a, i, d, ahead);
  });
}

}  // namespace
}  // namespace thimble::kernels
