// Weighted searches for the scale (and offset) of one sub-block in every lane; written against lane_math.h. Inputs are
// normalized, so nothing here has to care for overflow; weights are finite and not negative.
//
// The ideas are those of make_qx_quants, make_qkx3_quants and make_qp_quants in ggml-quants.c (llama.cpp v0.5.0): a row
// of inverse scales, a least-squares scale for the codes each of them gives, the best kept. Added to it: candidates
// that put the largest element on the other end of an asymmetric code range, and Lloyd steps (round, solve, repeat)
// from the best candidate, which can only lower the error. A search returns no codes: rounding to nearest is optimal
// for a given scale, and codes are rounded anew after the scales have been rounded themselves.
#pragma once

#include "tensor/blocks.h"
#include "tensor/lane_math.h"

namespace thimble {
namespace {

/// Nearest level of a uniform grid low..high.
struct UniformLevels {
  Floats low;
  Floats high;
  UniformLevels(int lowest, int highest) noexcept
      : low(splat(static_cast<float>(lowest))), high(splat(static_cast<float>(highest))) {}
  Floats operator()(Floats value) const noexcept { return round_even(clamped(value, low, high)); }
};

/// Nearest of the 16 levels kIq4Values. Counting the midpoints below the value has no branches and no table look-up.
struct Iq4Levels {
  Floats operator()(Floats value) const noexcept {
    Floats level = splat(static_cast<float>(kIq4Values[0]));
    for (int k = 1; k < 16; ++k) {
      const float midpoint = 0.5f * static_cast<float>(kIq4Values[k - 1] + kIq4Values[k]);
      const float gap = static_cast<float>(kIq4Values[k] - kIq4Values[k - 1]);
      level += select(value >= midpoint, splat(gap), Floats{});
    }
    return level;
  }
};

// ---- one scale

/// A scale and the error that it removes from sum w x^2.
struct ScaleFit {
  Floats scale;
  Floats gain;

  void take(Floats other_scale, Floats other_gain) noexcept {
    const Ints better = other_gain > gain;
    gain = select(better, other_gain, gain);
    scale = select(better, other_scale, scale);
  }
};

/// Tries the codes that K inverse scales give, each with its least-squares scale.
template <int K, int N, typename Levels>
inline void try_inverses(const Floats* x, const Floats* w, const Floats* inverses, const Levels& levels,
                         ScaleFit& best) noexcept {
  Floats code_x[K] = {};
  Floats code2[K] = {};
  for (int i = 0; i < N; ++i) {
    const Floats value = x[i];
    const Floats weight = w[i];
    for (int k = 0; k < K; ++k) {
      const Floats code = levels(value * inverses[k]);
      const Floats weighted = weight * code;
      code_x[k] += weighted * value;
      code2[k] += weighted * code;
    }
  }
  for (int k = 0; k < K; ++k) {
    const Floats scale = select(code2[k] > 0.0f, code_x[k] / code2[k], Floats{});
    best.take(scale, code_x[k] * scale);
  }
}

/// The inverse scales to try: those that put the largest element on end + step * i, |i| <= reach, for both ends.
struct Candidates {
  float ends[2];  // 0: unused
  float step;
  int reach;
  int lloyd_steps;
};

/// Scale that makes sum w (x - scale * level)^2 small; 0 where all x are 0. May be negative.
template <int N, typename Levels>
inline Floats search_scale(const Floats* x, const Floats* w, const Candidates& candidates,
                           const Levels& levels) noexcept {
  Floats largest = {};
  for (int i = 0; i < N; ++i) largest = select(lane_abs(x[i]) > lane_abs(largest), x[i], largest);
  const Floats unit = inverse_or_zero(largest);
  ScaleFit best = {};
  for (const float end : candidates.ends) {
    if (end == 0.0f) continue;
    int i = -candidates.reach;
    for (; i + kTogether - 1 <= candidates.reach; i += kTogether) {
      Floats inverses[kTogether];
      for (int k = 0; k < kTogether; ++k) inverses[k] = unit * (end + candidates.step * static_cast<float>(i + k));
      try_inverses<kTogether, N>(x, w, inverses, levels, best);
    }
    for (; i <= candidates.reach; ++i) {
      const Floats inverse = unit * (end + candidates.step * static_cast<float>(i));
      try_inverses<1, N>(x, w, &inverse, levels, best);
    }
  }
  for (int step = 0; step < candidates.lloyd_steps; ++step) {
    const Floats inverse = inverse_or_zero(best.scale);
    try_inverses<1, N>(x, w, &inverse, levels, best);
  }
  return best.scale;
}

// ---- scale and offset

/// value = scale * code + offset; scale is not negative.
struct AffineFit {
  Floats scale;
  Floats offset;
};

enum class OffsetSign { any, not_positive };

/// Least determinant of the normal equations, relative to the product of its diagonal, that is not taken for rounding
/// noise (1e-6): one code of 32 that differs from the others by one of 15 gives 1.3e-4.
constexpr float kSolvable = 1e-4f;

template <int N>
struct AffineSearch {
  const Floats* x;
  const Floats* w;
  UniformLevels levels;
  OffsetSign sign;
  Floats sum_w;
  Floats sum_x;  // sum w x
  AffineFit best;
  Floats best_gain;

  void take(Floats tried, Floats sum_l, Floats sum_l2, Floats sum_xl) noexcept {
    const Floats determinant = sum_w * sum_l2 - sum_l * sum_l;
    const Ints solvable = determinant > kSolvable * (sum_w * sum_l2);
    const Floats inverse = select(solvable, 1.0f / determinant, Floats{});
    AffineFit fit = {(sum_w * sum_xl - sum_x * sum_l) * inverse, (sum_l2 * sum_x - sum_l * sum_xl) * inverse};
    Floats gain = fit.scale * sum_xl + fit.offset * sum_x;
    if (sign == OffsetSign::not_positive) {
      // Also where all codes are equal: the offset of a row of equal elements is 0.
      const Ints no_offset = (fit.offset > 0.0f) | ~solvable;
      fit.scale = select(no_offset, sum_xl * inverse_or_zero(sum_l2), fit.scale);
      fit.offset = select(no_offset, Floats{}, fit.offset);
      gain = fit.scale * sum_xl + fit.offset * sum_x;
    } else {
      // Where one weight is thousands of times all others (an input with massive activations), only the offset can be
      // solved for: it puts that element right, and the others keep the grid that was tried.
      const AffineFit given = {tried, (sum_x - tried * sum_l) / sum_w};
      const Floats given_gain = given.scale * (2.0f * (sum_xl - given.offset * sum_l) - given.scale * sum_l2) +
                                given.offset * (2.0f * sum_x - given.offset * sum_w);
      fit.scale = select(solvable, fit.scale, given.scale);
      fit.offset = select(solvable, fit.offset, given.offset);
      gain = select(solvable, gain, given_gain);
    }
    const Ints better = (gain > best_gain) & (fit.scale > 0.0f);
    best_gain = select(better, gain, best_gain);
    best.scale = select(better, fit.scale, best.scale);
    best.offset = select(better, fit.offset, best.offset);
  }

  // Codes of K grids (inverse scale, common offset), each with its least-squares scale and offset.
  template <int K>
  void try_grids(const Floats* inverses, Floats offset) noexcept {
    Floats sum_l[K] = {};
    Floats sum_l2[K] = {};
    Floats sum_xl[K] = {};
    for (int i = 0; i < N; ++i) {
      const Floats value = x[i];
      const Floats weight = w[i];
      const Floats shifted = value - offset;
      for (int k = 0; k < K; ++k) {
        const Floats code = levels(shifted * inverses[k]);
        const Floats weighted = weight * code;
        sum_l[k] += weighted;
        sum_l2[k] += weighted * code;
        sum_xl[k] += weighted * value;
      }
    }
    for (int k = 0; k < K; ++k) take(inverse_or_zero(inverses[k]), sum_l[k], sum_l2[k], sum_xl[k]);
  }

  // The element `largest` on end + step * i above `offset`, i < count.
  void scan(Floats largest, Floats offset, float end, float step, int count) noexcept {
    const Floats unit = inverse_or_zero(largest - offset);
    int i = 0;
    for (; i + kTogether <= count; i += kTogether) {
      Floats inverses[kTogether];
      for (int k = 0; k < kTogether; ++k) inverses[k] = unit * (end + step * static_cast<float>(i + k));
      try_grids<kTogether>(inverses, offset);
    }
    for (; i < count; ++i) {
      const Floats inverse = unit * (end + step * static_cast<float>(i));
      try_grids<1>(&inverse, offset);
    }
  }
};

/// The grids to try: the smallest element on code -offset_step * j, |j| <= offset_reach, and for each of these the
/// largest on max_code + first + step * i, i < count.
struct AffineCandidates {
  float first;
  float step;
  int count;
  float offset_step;
  int offset_reach;
  int lloyd_steps;
};

/// Scale and offset that make sum w (x - scale * code - offset)^2 small, codes 0..max_code. K-quants store a min that
/// is subtracted and not negative, so they need OffsetSign::not_positive.
template <int N>
inline AffineFit search_affine(const Floats* x, const Floats* w, int max_code, OffsetSign sign,
                               const AffineCandidates& candidates) noexcept {
  Floats smallest = x[0];
  Floats largest = x[0];
  Floats sum_w = {};
  Floats sum_x = {};
  for (int i = 0; i < N; ++i) {
    smallest = lane_min(smallest, x[i]);
    largest = lane_max(largest, x[i]);
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  if (sign == OffsetSign::not_positive) smallest = lane_min(smallest, Floats{});
  const auto top = static_cast<float>(max_code);
  // Least: one level, the smallest element, which is exact for equal elements. All candidates are compared by what they
  // take from sum w x^2.
  AffineSearch<N> search = {x,     w,     UniformLevels(0, max_code), sign,
                            sum_w, sum_x, {Floats{}, smallest},       smallest * (2.0f * sum_x - sum_w * smallest)};
  const Floats shift = (largest - smallest) * (candidates.offset_step / top);
  for (int j = -candidates.offset_reach; j <= candidates.offset_reach; ++j) {
    const Floats offset = smallest + shift * static_cast<float>(j);
    search.scan(largest, offset, top + candidates.first, candidates.step, candidates.count);
  }
  for (int step = 0; step < candidates.lloyd_steps; ++step) {
    const Floats inverse = inverse_or_zero(search.best.scale);
    search.template try_grids<1>(&inverse, search.best.offset);
  }
  return search.best;
}

// ---- the error of a grid

/// error[k] = sum w (scale[k] * level + offset[k] - x)^2 with the nearest levels.
template <int K, int N, typename Levels>
inline void rounding_errors(const Floats* x, const Floats* w, const AffineFit* grids, const Levels& levels,
                            Floats* error) noexcept {
  Floats inverses[K];
  for (int k = 0; k < K; ++k) {
    inverses[k] = inverse_or_zero(grids[k].scale);
    error[k] = Floats{};
  }
  for (int i = 0; i < N; ++i) {
    const Floats value = x[i];
    const Floats weight = w[i];
    for (int k = 0; k < K; ++k) {
      const Floats shifted = value - grids[k].offset;
      const Floats difference = levels(shifted * inverses[k]) * grids[k].scale - shifted;
      error[k] += weight * (difference * difference);
    }
  }
}

}  // namespace
}  // namespace thimble
