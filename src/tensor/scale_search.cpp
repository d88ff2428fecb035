// The searches. Inner loops run over eight partial sums, which fixes the order of additions (the same bits on every
// machine) and lets the compiler use vector registers without -ffast-math. Codes stay floats until they are stored.
#include "tensor/scale_search.h"

#include <cmath>

#include "tensor/blocks.h"

namespace thimble {

namespace {

constexpr int kLanes = 8;

struct Lanes {
  float sum[kLanes] = {};
  float total() const noexcept {
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
  }
};

struct UniformGrid {
  CodeRange range;
  float operator()(float value) const noexcept { return nearest_code(value, range); }
};

// Counting the midpoints below the value has no branches and no table look-up, so it vectorizes, unlike a binary
// search.
struct Iq4Grid {
  float operator()(float value) const noexcept {
    float level = kIq4Values[0];
    for (int k = 1; k < 16; ++k) {
      const float midpoint = 0.5f * static_cast<float>(kIq4Values[k - 1] + kIq4Values[k]);
      const float gap = static_cast<float>(kIq4Values[k] - kIq4Values[k - 1]);
      level += value >= midpoint ? gap : 0.0f;
    }
    return level;
  }
};

// Sums for the least-squares scale of the codes that `inverse` gives: the error is sum w x^2 - gain().
struct Projection {
  float code_x;  // sum w code x
  float code2;   // sum w code^2
  float scale() const noexcept { return code_x / code2; }
  float gain() const noexcept { return code2 > 0.0f ? code_x * (code_x / code2) : 0.0f; }
};

template <int N, typename Grid>
Projection project(const float* x, const float* w, float inverse, Grid grid) noexcept {
  Lanes code_x;
  Lanes code2;
  for (int i = 0; i < N; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float code = grid(inverse * x[i + k]);
      const float weighted = w[i + k] * code;
      code_x.sum[k] += weighted * x[i + k];
      code2.sum[k] += weighted * code;
    }
  }
  return {code_x.total(), code2.total()};
}

struct Candidates {
  float ends[2];  // codes that the largest element may be put on; 0 = unused
  float step;     // distance of neighbouring candidates, in codes
  int reach;      // candidates on each side of an end
};

template <int N, typename Grid>
float search_scale(const float* x, const float* w, const Candidates& candidates, Grid grid) noexcept {
  float largest = 0.0f;
  for (int i = 0; i < N; ++i) largest = std::fabs(x[i]) > std::fabs(largest) ? x[i] : largest;
  if (largest == 0.0f) return 0.0f;
  float best_gain = 0.0f;
  float best_scale = 0.0f;
  for (const float end : candidates.ends) {
    if (end == 0.0f) continue;
    for (int i = -candidates.reach; i <= candidates.reach; ++i) {
      const float inverse = (end + candidates.step * static_cast<float>(i)) / largest;
      const Projection projection = project<N>(x, w, inverse, grid);
      if (projection.gain() > best_gain) {
        best_gain = projection.gain();
        best_scale = projection.scale();
      }
    }
  }
  constexpr int kLloydSteps = 4;
  for (int step = 0; step < kLloydSteps && best_scale != 0.0f; ++step) {
    const Projection projection = project<N>(x, w, inverse_or_zero(best_scale), grid);
    if (!(projection.gain() > best_gain)) break;
    best_gain = projection.gain();
    best_scale = projection.scale();
  }
  return best_scale;
}

template <int N>
struct AffineProblem {
  const float* x;
  const float* w;
  float max_code;
  OffsetSign sign;
  float sum_w;
  float sum_x;  // sum w x
};

struct AffineCandidate {
  AffineFit fit;
  float error;
};

// Rounds on the grid (inverse, offset), solves for the best scale and offset of those codes and measures their error.
template <int N>
AffineCandidate solve_affine(const AffineProblem<N>& p, float inverse, float offset) noexcept {
  float codes[N];
  Lanes lane_l;
  Lanes lane_l2;
  Lanes lane_xl;
  const CodeRange range = {0.0f, p.max_code};
  for (int i = 0; i < N; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float code = nearest_code(inverse * (p.x[i + k] - offset), range);
      const float weighted = p.w[i + k] * code;
      codes[i + k] = code;
      lane_l.sum[k] += weighted;
      lane_l2.sum[k] += weighted * code;
      lane_xl.sum[k] += weighted * p.x[i + k];
    }
  }
  const float sum_l = lane_l.total();
  const float sum_l2 = lane_l2.total();
  const float sum_xl = lane_xl.total();
  const float determinant = p.sum_w * sum_l2 - sum_l * sum_l;
  if (!(determinant > 0.0f)) return {{0.0f, 0.0f}, HUGE_VALF};
  AffineFit fit = {(p.sum_w * sum_xl - p.sum_x * sum_l) / determinant,
                   (sum_l2 * p.sum_x - sum_l * sum_xl) / determinant};
  if (p.sign == OffsetSign::not_positive && fit.offset > 0.0f) fit = {sum_xl / sum_l2, 0.0f};
  Lanes error;
  for (int i = 0; i < N; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float difference = fit.scale * codes[i + k] + fit.offset - p.x[i + k];
      error.sum[k] += p.w[i + k] * difference * difference;
    }
  }
  return {fit, error.total()};
}

}  // namespace

template <int N>
float fit_scale(const float* x, const float* w, CodeRange range) noexcept {
  return search_scale<N>(x, w, {{range.low, range.high}, 0.1f, 9}, UniformGrid{range});
}

float fit_iq4_scale(const float* x, const float* w) noexcept {
  return search_scale<32>(x, w, {{kIq4Values[0], kIq4Values[15]}, 1.0f, 7}, Iq4Grid{});
}

template <int N>
AffineFit fit_affine(const float* x, const float* w, float max_code, OffsetSign sign) noexcept {
  float smallest = x[0];
  float largest = x[0];
  float sum_w = 0.0f;
  float sum_x = 0.0f;
  for (int i = 0; i < N; ++i) {
    smallest = x[i] < smallest ? x[i] : smallest;
    largest = x[i] > largest ? x[i] : largest;
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  if (sign == OffsetSign::not_positive && smallest > 0.0f) smallest = 0.0f;
  if (largest <= smallest) return {0.0f, smallest};
  const AffineProblem<N> problem = {x, w, max_code, sign, sum_w, sum_x};
  AffineCandidate best = {{(largest - smallest) / max_code, smallest}, 0.0f};
  best.error = rounding_error<N>(x, w, best.fit, {0.0f, max_code});
  // make_qkx3_quants: the largest element is put on max_code - 0.9 ... max_code + 0.9 above the best offset so far.
  for (int i = 0; i <= 36; ++i) {
    const float reach = max_code - 0.9f + 0.05f * static_cast<float>(i);
    const float offset = best.fit.offset;
    const AffineCandidate candidate = solve_affine(problem, reach * inverse_or_zero(largest - offset), offset);
    if (candidate.error < best.error) best = candidate;
  }
  constexpr int kLloydSteps = 4;
  for (int step = 0; step < kLloydSteps; ++step) {
    const AffineCandidate candidate = solve_affine(problem, inverse_or_zero(best.fit.scale), best.fit.offset);
    if (!(candidate.error < best.error)) break;
    best = candidate;
  }
  return best.fit;
}

template <int N>
float rounding_error(const float* x, const float* w, AffineFit grid, CodeRange range) noexcept {
  const float inverse = inverse_or_zero(grid.scale);
  Lanes error;
  for (int i = 0; i < N; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float code = nearest_code(inverse * (x[i + k] - grid.offset), range);
      const float difference = grid.scale * code + grid.offset - x[i + k];
      error.sum[k] += w[i + k] * difference * difference;
    }
  }
  return error.total();
}

template <int N>
void round_codes(const float* x, AffineFit grid, CodeRange range, uint8_t* codes) noexcept {
  const float inverse = inverse_or_zero(grid.scale);
  for (int i = 0; i < N; ++i) {
    codes[i] = static_cast<uint8_t>(nearest_code(inverse * (x[i] - grid.offset), range) - range.low);
  }
}

float iq4_rounding_error(const float* x, const float* w, float scale) noexcept {
  const float inverse = inverse_or_zero(scale);
  Lanes error;
  for (int i = 0; i < 32; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float difference = scale * Iq4Grid{}(inverse * x[i + k]) - x[i + k];
      error.sum[k] += w[i + k] * difference * difference;
    }
  }
  return error.total();
}

void round_iq4_codes(const float* x, float scale, uint8_t* codes) noexcept {
  const float inverse = inverse_or_zero(scale);
  for (int i = 0; i < 32; ++i) {
    int code = 0;
    for (int k = 1; k < 16; ++k) {
      code += inverse * x[i] >= 0.5f * static_cast<float>(kIq4Values[k - 1] + kIq4Values[k]) ? 1 : 0;
    }
    codes[i] = static_cast<uint8_t>(code);
  }
}

template float fit_scale<8>(const float*, const float*, CodeRange) noexcept;
template float fit_scale<16>(const float*, const float*, CodeRange) noexcept;
template float fit_scale<32>(const float*, const float*, CodeRange) noexcept;
template AffineFit fit_affine<16>(const float*, const float*, float, OffsetSign) noexcept;
template AffineFit fit_affine<32>(const float*, const float*, float, OffsetSign) noexcept;
template float rounding_error<8>(const float*, const float*, AffineFit, CodeRange) noexcept;
template float rounding_error<16>(const float*, const float*, AffineFit, CodeRange) noexcept;
template float rounding_error<32>(const float*, const float*, AffineFit, CodeRange) noexcept;
template void round_codes<8>(const float*, AffineFit, CodeRange, uint8_t*) noexcept;
template void round_codes<16>(const float*, AffineFit, CodeRange, uint8_t*) noexcept;
template void round_codes<32>(const float*, AffineFit, CodeRange, uint8_t*) noexcept;

}  // namespace thimble
