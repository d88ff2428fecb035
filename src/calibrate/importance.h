// Importance of the columns of weight matrices: the least that calibration knows, and all that an imatrix holds.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

namespace thimble {

/// Mean squared activation of each input column, by tensor name: [n_in], or [n_experts * n_in] for stacked experts.
/// Empty: no importance weighting.
using Importance = std::unordered_map<std::string, std::vector<float>>;

/// Identity of its content for caches, whatever file it came from.
std::string importance_hash(const Importance& importance);

}  // namespace thimble
