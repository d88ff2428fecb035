// Texts that are nearly the same: prompts copied with a word changed, which count as two items but are one.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace thimble {

struct NearPair {
  size_t first = 0, second = 0;  // indices, first < second
  double similarity = 0;         // Jaccard index of their pieces, 0..1
};

/// Pairs of texts with at least the given share of pieces in common, in order of their indices. Pieces are runs of five
/// code points of the text without case and white space runs; those that more than a tenth of the texts have (and more
/// than four) are left out: the instructions around every prompt. Candidates come from min-hashing (Broder 1997) with
/// fixed seeds: at a similarity of 0.8 one pair in ten thousand is missed; none is reported that is not there.
std::vector<NearPair> near_duplicates(std::span<const std::string> texts, double least_similarity);

}  // namespace thimble
