// Clusters for tests of this room.
#pragma once

#include <string>
#include <vector>

namespace thimble {

/// Every item a cluster of its own.
inline std::vector<std::string> own_clusters(size_t n) {
  std::vector<std::string> out;
  for (size_t i = 0; i < n; ++i) out.push_back(std::to_string(i));
  return out;
}

}  // namespace thimble
