// Weighted searches for the scale (and offset) of one sub-block, shared by all encoders. Inputs are normalized blocks
// (encode_input.h), so nothing here has to care for overflow; weights are finite and not negative.
//
// The ideas are those of make_qx_quants, make_qkx3_quants and make_qp_quants in ggml-quants.c (llama.cpp v0.5.0): a
// grid of inverse scales, a least-squares scale for the codes each of them gives, the best kept. Added to it:
// candidates that put the largest element on the other end of an asymmetric code range, and a Lloyd iteration (round,
// solve, repeat) from the best candidate, which can only lower the error. A search returns no codes: rounding to
// nearest is optimal for a given scale, and every encoder rounds anew after its scales have been rounded themselves.
#pragma once

#include <cstdint>

namespace thimble {

/// Smallest and largest code of a uniform grid.
struct CodeRange {
  float low;
  float high;
};

/// 1.5 * 2^23: a float of that size has no bits left for a fraction, so adding and subtracting it rounds.
inline constexpr float kRoundToInteger = 12582912.0f;

/// Nearest integer (ties to even) of `value`, clamped to `range`, which must lie within +-2^22; NaN becomes range.low.
static inline float nearest_code(float value, CodeRange range) noexcept {
  value = value > range.low ? value : range.low;
  value = value < range.high ? value : range.high;
  return (value + kRoundToInteger) - kRoundToInteger;
}

static inline float inverse_or_zero(float scale) noexcept {
  return scale != 0.0f ? 1.0f / scale : 0.0f;
}

/// Scale s that makes sum w (x - s * code)^2 small, codes in `range`; negative scales may come out when the range has
/// negative codes. x, w [N]. 0 when all x or all weights are 0.
template <int N>
float fit_scale(const float* x, const float* w, CodeRange range) noexcept;

/// As fit_scale on the 16 levels kIq4Values, x, w [32].
float fit_iq4_scale(const float* x, const float* w) noexcept;

struct AffineFit {
  float scale;   // not negative
  float offset;  // value of code 0
};

enum class OffsetSign { any, not_positive };

/// Scale and offset that make sum w (x - scale * code - offset)^2 small, codes 0..max_code; x, w [N]. K-quants store
/// a min that is subtracted and not negative, so they need OffsetSign::not_positive.
template <int N>
AffineFit fit_affine(const float* x, const float* w, float max_code, OffsetSign sign) noexcept;

/// sum w (x - scale * code - offset)^2 with the nearest codes in `range`; x, w [N].
template <int N>
float rounding_error(const float* x, const float* w, AffineFit grid, CodeRange range) noexcept;

/// The nearest codes minus range.low (so 0..), x, codes [N].
template <int N>
void round_codes(const float* x, AffineFit grid, CodeRange range, uint8_t* codes) noexcept;

/// rounding_error and round_codes on the 16 levels kIq4Values, x, w, codes [32].
float iq4_rounding_error(const float* x, const float* w, float scale) noexcept;
void round_iq4_codes(const float* x, float scale, uint8_t* codes) noexcept;

}  // namespace thimble
