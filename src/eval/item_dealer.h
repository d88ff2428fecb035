// Dealing items to workers: each runs in a thread of its own and takes items until there are none left.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>

#include "base/function_ref.h"

namespace thimble {

/// Number of the next item to work on, or nothing: none is left, or another worker has failed. Called by any worker.
using TakeItem = FunctionRef<std::optional<size_t>()>;
/// Works until take() gives nothing. May hold several items at once.
using ItemWorker = std::function<void(TakeItem take)>;

/// Deals `todo`, in order, to `workers`; the first runs in the calling thread. Errors: the first error of a worker,
/// when all have stopped.
void deal_items(std::span<const size_t> todo, std::span<const ItemWorker> workers);

}  // namespace thimble
