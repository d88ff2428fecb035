// The sizes that attention works in, and the memory it needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace thimble::ops {

/// Query rows (heads of one group x tokens) that one pass over the keys serves, in strips of kernels::kStripRows. Their
/// queries and sums for heads of 64 are 24 KiB; each block of keys and values, 32 KiB of halves, is read once for all.
inline constexpr int64_t kQueryTile = 32;

/// Keys whose softmax is computed as one before it is merged with the others: the unit that decoding deals to threads.
/// A span starts at a multiple of this, so that a result depends neither on threads nor on how tokens were batched.
inline constexpr int64_t kKeySpan = 512;

/// Floats of AttentionScratch, or nothing when they do not fit 64 bits.
std::optional<uint64_t> attention_scratch_floats(int n_threads, int64_t n_ctx, int64_t n_head,
                                                 int64_t head_dim) noexcept;

}  // namespace thimble::ops
