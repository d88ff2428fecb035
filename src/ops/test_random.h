// Random activations for tests of this room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace thimble::ops {

/// Evenly distributed from -1 to 1.
inline std::vector<float> random_floats(size_t n, uint32_t seed) {
  std::vector<float> values(n);
  uint32_t state = seed * 2654435761u + 12345u;
  for (float& v : values) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(static_cast<int32_t>(state ^ (state >> 15))) * 0x1p-31f;
  }
  return values;
}

}  // namespace thimble::ops
