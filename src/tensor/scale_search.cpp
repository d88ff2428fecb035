// The searches. Inner loops run over groups of four elements in the compilers' portable vector type, without which GCC
// 12 vectorizes across the groups and spends most of its time on shuffles. No instruction set is assumed, and the order
// of additions is the same on every machine. Codes stay floats until they are stored.
#include "tensor/scale_search.h"

#include <cmath>
#include <cstring>

#include "tensor/blocks.h"

namespace thimble {

namespace {

constexpr int kLanes = 4;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

Lanes load(const float* values) noexcept {
  Lanes lanes;
  std::memcpy(&lanes, values, sizeof(lanes));
  return lanes;
}

Lanes splat(float value) noexcept {
  return Lanes{value, value, value, value};
}

float total(Lanes lanes) noexcept {
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

// nearest_code on four values.
struct UniformGrid {
  Lanes low;
  Lanes high;
  explicit UniformGrid(CodeRange range) noexcept : low(splat(range.low)), high(splat(range.high)) {}
  Lanes operator()(Lanes value) const noexcept {
    const Lanes round = splat(kRoundToInteger);
    value = value > low ? value : low;
    value = value < high ? value : high;
    return (value + round) - round;
  }
};

// Counting the midpoints below the value has no branches and no table look-up, so it vectorizes, unlike a binary
// search.
struct Iq4Grid {
  Lanes operator()(Lanes value) const noexcept {
    Lanes level = splat(kIq4Values[0]);
    for (int k = 1; k < 16; ++k) {
      const Lanes midpoint = splat(0.5f * static_cast<float>(kIq4Values[k - 1] + kIq4Values[k]));
      const Lanes gap = splat(static_cast<float>(kIq4Values[k] - kIq4Values[k - 1]));
      level += value >= midpoint ? gap : splat(0.0f);
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
Projection project(const float* x, const float* w, float inverse, const Grid& grid) noexcept {
  Lanes code_x = splat(0.0f);
  Lanes code2 = splat(0.0f);
  for (int i = 0; i < N; i += kLanes) {
    const Lanes values = load(x + i);
    const Lanes code = grid(values * inverse);
    const Lanes weighted = load(w + i) * code;
    code_x += weighted * values;
    code2 += weighted * code;
  }
  return {total(code_x), total(code2)};
}

struct Candidates {
  float ends[2];  // codes that the largest element may be put on; 0 = unused
  float step;     // distance of neighbouring candidates, in codes
  int reach;      // candidates on each side of an end
};

template <int N, typename Grid>
float search_scale(const float* x, const float* w, const Candidates& candidates, const Grid& grid) noexcept {
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
  Lanes codes[N / kLanes];
  Lanes lane_l = splat(0.0f);
  Lanes lane_l2 = splat(0.0f);
  Lanes lane_xl = splat(0.0f);
  const UniformGrid grid({0.0f, p.max_code});
  for (int i = 0; i < N / kLanes; ++i) {
    const Lanes values = load(p.x + kLanes * i);
    codes[i] = grid((values - offset) * inverse);
    const Lanes weighted = load(p.w + kLanes * i) * codes[i];
    lane_l += weighted;
    lane_l2 += weighted * codes[i];
    lane_xl += weighted * values;
  }
  const float sum_l = total(lane_l);
  const float sum_l2 = total(lane_l2);
  const float sum_xl = total(lane_xl);
  const float determinant = p.sum_w * sum_l2 - sum_l * sum_l;
  if (!(determinant > 0.0f)) return {{0.0f, 0.0f}, HUGE_VALF};
  AffineFit fit = {(p.sum_w * sum_xl - p.sum_x * sum_l) / determinant,
                   (sum_l2 * p.sum_x - sum_l * sum_xl) / determinant};
  if (p.sign == OffsetSign::not_positive && fit.offset > 0.0f) fit = {sum_xl / sum_l2, 0.0f};
  Lanes error = splat(0.0f);
  for (int i = 0; i < N / kLanes; ++i) {
    const Lanes difference = codes[i] * fit.scale + (splat(fit.offset) - load(p.x + kLanes * i));
    error += load(p.w + kLanes * i) * difference * difference;
  }
  return {fit, total(error)};
}

// sum w (scale * grid((x - offset) / scale) + offset - x)^2
template <int N, typename Grid>
float grid_error(const float* x, const float* w, AffineFit fit, const Grid& grid) noexcept {
  const float inverse = inverse_or_zero(fit.scale);
  Lanes error = splat(0.0f);
  for (int i = 0; i < N; i += kLanes) {
    const Lanes shifted = load(x + i) - fit.offset;
    const Lanes difference = grid(shifted * inverse) * fit.scale - shifted;
    error += load(w + i) * difference * difference;
  }
  return total(error);
}

}  // namespace

template <int N>
float fit_scale(const float* x, const float* w, CodeRange range) noexcept {
  // The second end gains 0.5 % of error even where the ends hardly differ (Q6_K 3 %: its candidates interleave).
  return search_scale<N>(x, w, {{range.low, range.high}, 0.1f, 9}, UniformGrid(range));
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
  return grid_error<N>(x, w, grid, UniformGrid(range));
}

template <int N>
void round_codes(const float* x, AffineFit grid, CodeRange range, uint8_t* codes) noexcept {
  const float inverse = inverse_or_zero(grid.scale);
  for (int i = 0; i < N; ++i) {
    codes[i] = static_cast<uint8_t>(nearest_code(inverse * (x[i] - grid.offset), range) - range.low);
  }
}

float iq4_rounding_error(const float* x, const float* w, float scale) noexcept {
  return grid_error<32>(x, w, {scale, 0.0f}, Iq4Grid{});
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
template AffineFit fit_affine<64>(const float*, const float*, float, OffsetSign) noexcept;
template AffineFit fit_affine<128>(const float*, const float*, float, OffsetSign) noexcept;
template float rounding_error<8>(const float*, const float*, AffineFit, CodeRange) noexcept;
template float rounding_error<16>(const float*, const float*, AffineFit, CodeRange) noexcept;
template float rounding_error<32>(const float*, const float*, AffineFit, CodeRange) noexcept;
template float rounding_error<64>(const float*, const float*, AffineFit, CodeRange) noexcept;
template float rounding_error<128>(const float*, const float*, AffineFit, CodeRange) noexcept;
template void round_codes<8>(const float*, AffineFit, CodeRange, uint8_t*) noexcept;
template void round_codes<16>(const float*, AffineFit, CodeRange, uint8_t*) noexcept;
template void round_codes<32>(const float*, AffineFit, CodeRange, uint8_t*) noexcept;

}  // namespace thimble
