// Random sequences that are fixed by this project, not by a standard library, so that the same seed gives the same
// samples, shuffles and intervals on every machine. SplitMix64: Steele, Lea and Flood 2014 ("Fast splittable
// pseudorandom number generators").
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <utility>

namespace thimble {

/// The finalizer of SplitMix64: a bijection that spreads every bit.
constexpr uint64_t mix_bits(uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

class SplitMix64 {
 public:
  explicit constexpr SplitMix64(uint64_t seed) noexcept : state_(seed) {}
  constexpr uint64_t next() noexcept { return mix_bits(state_ += 0x9E3779B97F4A7C15u); }
  /// Uniform in [0, n), n < 2^32; the bias of the multiplication method is below 2^-32 * n.
  size_t below(size_t n) noexcept { return static_cast<size_t>(((next() >> 32) * static_cast<uint64_t>(n)) >> 32); }
  /// Uniform in (0, 1), 53 bits.
  double uniform() noexcept { return (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53; }
  /// Normal with mean 0 and variance 1 (Box and Muller 1958); takes two numbers of the sequence.
  double gaussian() noexcept {
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }

 private:
  uint64_t state_;
};

/// Fisher-Yates over anything with size() and [].
template <typename Values>
void shuffle_values(Values& values, SplitMix64& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.next() % i]);
}

}  // namespace thimble
