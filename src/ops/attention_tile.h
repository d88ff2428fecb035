// The size of an attention tile, shared by the operation and its scratch memory.
#pragma once

#include <cstddef>

namespace thimble::ops {

/// Query rows (heads of one group x tokens) that one pass over the keys serves. Eight rows of scores at a context of
/// 4,096 are 128 KiB, which stays in the second-level cache.
inline constexpr size_t kQueryTile = 8;

}  // namespace thimble::ops
