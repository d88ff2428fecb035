// What it costs to hand work to the threads of a pool: how far apart its processors are.
#pragma once

#include "base/thread_pool.h"

namespace thimble {

/// Seconds of a parallel region in which every thread of `pool` does nothing, mean of two thousand in a row. Decoding
/// a token takes five regions a layer. On a virtual machine this tells what its topology may not: processors that share
/// a last level cache answer several times faster than those that do not, and share its way to memory as well.
double region_seconds(ThreadPool& pool) noexcept;

}  // namespace thimble
