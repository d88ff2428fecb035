// Arithmetic on one number per lane, written against the vocabulary that a file defines before it includes this one:
//     kLanes                     lanes of a vector
//     Floats, Ints               vectors of kLanes floats and 32-bit integers (the compilers' portable vector types)
//     lane_min, lane_max         a < b ? a : b and a > b ? a : b
//     lane_sqrt                  correctly rounded
//     kTogether                  candidates of a search that fit the registers at once
// In the scale searches a lane is a whole block, so nothing here ever adds across lanes, and every operation is rounded
// as IEEE 754 says (-ffp-contract=off): results are equal bit for bit for any number of lanes on any machine.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "tensor/scale_round.h"

namespace thimble {
namespace {

inline Floats splat(float value) noexcept {
  return Floats{} + value;
}
inline Ints splat_int(int value) noexcept {
  return Ints{} + value;
}
inline Floats select(Ints mask, Floats yes, Floats no) noexcept {
  return mask ? yes : no;
}
inline Ints select(Ints mask, Ints yes, Ints no) noexcept {
  return mask ? yes : no;
}
inline Floats lane_abs(Floats v) noexcept {
  return std::bit_cast<Floats>(std::bit_cast<Ints>(v) & 0x7FFFFFFF);
}
inline Floats round_even(Floats v) noexcept {
  return (v + kRoundToInteger) - kRoundToInteger;
}
inline Floats clamped(Floats v, Floats low, Floats high) noexcept {
  return lane_min(lane_max(v, low), high);
}
inline Floats inverse_or_zero(Floats v) noexcept {
  return select(v != 0.0f, 1.0f / v, Floats{});
}
inline Floats to_floats(Ints v) noexcept {
  return __builtin_convertvector(v, Floats);
}
inline Ints to_ints(Floats v) noexcept {
  return __builtin_convertvector(v, Ints);
}

/// Half precision bits of a block scale or offset that is not NaN, nearest, clamped to the finite range.
inline Ints half_bits(Floats value) noexcept {
  const Ints sign = (std::bit_cast<Ints>(value) >> 16) & 0x8000;
  const Floats magnitude = lane_min(lane_abs(value), splat(65504.0f));
  const Ints bits = std::bit_cast<Ints>(magnitude);
  const Ints normal = (bits - 0x38000000 + 0xFFF + ((bits >> 13) & 1)) >> 13;
  const Ints subnormal = std::bit_cast<Ints>(magnitude + 0.5f) - 0x3F000000;
  return sign | select(bits < 0x38800000, subnormal, normal);
}

/// f16_to_f32 of finite halves.
inline Floats half_value(Ints half) noexcept {
  const Ints magnitude = half & 0x7FFF;
  const Ints normal = (magnitude << 13) + 0x38000000;
  const Ints subnormal = std::bit_cast<Ints>(to_floats(magnitude) * 0x1p-24f);
  const Ints sign = (half & 0x8000) << 16;
  return std::bit_cast<Floats>(sign | select(magnitude < 0x400, subnormal, normal));
}

/// Half precision bits of the scale of a super-block. Like half_bits, except that small scales are rounded away from
/// zero: below 64 units of 2^-24 nearest may be more than 1 % too small, or 0, and sub-scales cannot make up for a
/// super-block scale that is too small, only for one that is too large. ggml loses rows of magnitude 1e-5 that way.
/// Below 2^-33 even the largest sub-scale (128 in Q6_K) stays under half of the smallest scale: nothing to gain.
inline Ints super_half_bits(Floats value) noexcept {
  const Ints half = half_bits(value);
  const Floats magnitude = lane_abs(value);
  const Ints small = ((half & 0x7FFF) < 64) & (magnitude >= 0x1p-33f);
  const Ints too_small = lane_abs(half_value(half)) < magnitude;
  return half - (small & too_small);  // a true lane is -1
}

// ---- input

/// Magnitude with NaN as 0 and infinity as the largest float.
inline Floats finite_magnitude(Floats v) noexcept {
  const Floats magnitude = lane_abs(v);
  return select(magnitude >= 0.0f, lane_min(magnitude, splat(std::numeric_limits<float>::max())), Floats{});
}

/// Brings the blocks x [n] to magnitude 1 in place, taking NaN as 0 and infinity as the largest float, and returns the
/// power of two they were divided by. Blocks below 2^-40 become zero (and give 1): 2^-25, the smallest scale that half
/// precision does not round to 0, times the largest code * sub-scale product of any type (2^12 in Q6_K) is 2^-13.
inline Floats normalize_lanes(Floats* x, int n) noexcept {
  Floats largest = {};
  for (int i = 0; i < n; ++i) largest = lane_max(largest, finite_magnitude(x[i]));
  const Ints usable = largest >= 0x1p-40f;
  const Ints exponent = std::bit_cast<Ints>(largest) & 0x7F800000;
  const Floats magnitude = select(usable, std::bit_cast<Floats>(exponent), splat(1.0f));
  const Floats inverse = select(usable, 1.0f / magnitude, Floats{});  // exact, a denormal for 2^127
  for (int i = 0; i < n; ++i) {
    const Ints sign = std::bit_cast<Ints>(x[i]) & std::numeric_limits<int32_t>::min();
    const Floats value = finite_magnitude(x[i]) * inverse;
    x[i] = std::bit_cast<Floats>(std::bit_cast<Ints>(value) | sign);
  }
  return magnitude;
}

/// Turns importance w [n] into weights in place: relative to its mean; negative, NaN and infinite entries count as 0,
/// no usable entry at all as equal importance. Channels that never fired keep 1e-6 of the mean, so that a sub-block of
/// such channels is still rounded sensibly instead of becoming zero.
inline void normalize_weights(Floats* w, int n) noexcept {
  Floats largest = {};
  for (int i = 0; i < n; ++i) {
    const Ints usable = (w[i] > 0.0f) & (w[i] <= std::numeric_limits<float>::max());
    w[i] = select(usable, w[i], Floats{});
    largest = lane_max(largest, w[i]);
  }
  // The power of two keeps the sum finite. Denormal importance is none.
  const Ints any = largest >= std::numeric_limits<float>::min();
  const Floats magnitude = std::bit_cast<Floats>(std::bit_cast<Ints>(largest) & 0x7F800000);
  const Floats inverse = select(any, 1.0f / magnitude, Floats{});
  Floats sum = {};
  for (int i = 0; i < n; ++i) {
    w[i] *= inverse;
    sum += w[i];
  }
  constexpr float kDeadChannel = 1e-6f;
  const Floats inverse_mean = select(any, static_cast<float>(n) / sum, Floats{});
  const Floats floor = select(any, splat(kDeadChannel), splat(1.0f));
  for (int i = 0; i < n; ++i) w[i] = w[i] * inverse_mean + floor;
}

/// Multiplies weights w [n] by sqrt(sigma2 * mean square of x + x^2), x [n] normalized: ggml's rule with importance,
/// used here without as well. It protects large elements, which plain squared error gives up first, yet stays close to
/// squared error.
inline void favor_large_elements(const Floats* x, int n, float sigma2, Floats* w) noexcept {
  Floats sum = {};
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  const Floats floor = sum * (sigma2 / static_cast<float>(n));
  for (int i = 0; i < n; ++i) w[i] *= lane_sqrt(floor + x[i] * x[i]);
}

}  // namespace
}  // namespace thimble
