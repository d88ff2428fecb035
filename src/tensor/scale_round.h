// Rounding to whole codes by the one trick that every encoder and every instruction set shares.
#pragma once

namespace thimble {

/// 1.5 * 2^23: a float of that size has no bits left for a fraction, so adding and subtracting it rounds to the nearest
/// integer, ties to even, for magnitudes below 2^22.
inline constexpr float kRoundToInteger = 12582912.0f;

}  // namespace thimble
