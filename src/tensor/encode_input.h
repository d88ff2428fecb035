// What every encoder does to its input before any search: takes NaN and infinity out, brings the block to magnitude 1
// and turns importance into weights. Afterwards all arithmetic is far from overflow and from denormals, whatever came
// in.
#pragma once

#include <cstdint>

namespace thimble {

/// Copies x [n] to out [n], multiplied by the power of two that brings the largest magnitude into [1, 2), and returns
/// the inverse of that factor; NaN is taken as 0 and infinity as the largest float. Returns 0 (and zeros) for a block
/// that is zero or below 2^-40: 2^-25, the smallest scale that half precision does not round to 0, times the largest
/// code * sub-scale product of any type (2^12 in Q6_K) is 2^-13.
float normalize_block(const float* x, int n, float* out) noexcept;

/// Root mean square of a row x [n] in double, with the same treatment of NaN and infinity.
double row_rms(const float* x, int64_t n) noexcept;

/// Weights [n] of a normalized block: `importance` [n], or 1 where that is null, relative to its mean. Negative, NaN
/// and infinite entries count as 0; channels that never fired keep 1e-6 of the mean, so that a sub-block of such
/// channels is still rounded sensibly instead of becoming zero.
void fill_weights(const float* importance, int n, float* weights) noexcept;

/// Multiplies weights [n] by sqrt(sigma2 + x^2), x [n] the normalized block: ggml's rule with importance, used here
/// without as well. It protects large elements, which plain squared error gives up first, yet stays close to squared
/// error.
void favor_large_elements(const float* x, int n, float sigma2, float* weights) noexcept;

/// Mean square of a normalized block x [n].
float mean_square(const float* x, int n) noexcept;

/// Half precision bits of a block scale or offset, nearest, clamped to the finite range.
uint16_t scale_to_f16(float scale) noexcept;

/// Half precision bits of the scale of a super-block. Like scale_to_f16, except that small scales are rounded away from
/// zero: below 64 units of 2^-24 nearest may be more than 1 % too small, or 0, and sub-scales cannot make up for a
/// super-block scale that is too small, only for one that is too large. ggml loses rows of magnitude 1e-5 that way.
uint16_t super_scale_to_f16(float scale) noexcept;

}  // namespace thimble
