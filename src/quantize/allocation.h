// The choice of one type for each tensor so that the summed predicted loss is smallest within a budget of bytes: the
// multiple-choice knapsack problem. Pure: knows nothing of files or models (allocation_plan.h does).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor_type.h"

namespace thimble {

/// One way of storing an item.
struct AllocationOption {
  TensorType type;
  uint64_t bytes = 0;  // what it takes from the budget
  double loss = 0;     // predicted loss in any unit that adds up over items; finite
};

/// Tensors that get the same type: usually one, or several that a kernel or a taste wants alike, with the sums of their
/// bytes and losses.
struct AllocationItem {
  std::vector<std::string> tensors;
  std::vector<AllocationOption> options;  // at least one, in any order
};

struct Allocation {
  std::vector<size_t> choice;  // [n_items] index into the item's options
  uint64_t bytes = 0;
  double loss = 0;
  // No choice within the budget has a smaller loss: equal to `loss` when the choice is proven best.
  double loss_bound = 0;
};

struct AllocationLimits {
  // Partial choices kept after each item. A proof needs a few thousand for models of hundreds of tensors; where it
  // needs more, the least promising are dropped and loss_bound says what that may have cost.
  size_t max_states = size_t{1} << 16;
};

/// Smallest sum of bytes that any choice takes.
uint64_t smallest_allocation(std::span<const AllocationItem> items);

/// The choice of least loss within `budget` bytes; of equal ones the smaller, and then always the same. Exact, by
/// dynamic programming over undominated partial choices, with options and states cut off by the Lagrangian bound
/// (Pisinger, "A minimal algorithm for the multiple-choice knapsack problem", EJOR 83, 1995).
/// Errors: invalid_argument when an item has no option or a loss is not finite, and when the budget is below
/// smallest_allocation(), which the message names; resource_exhausted when sizes do not fit 64 bits.
Allocation allocate(std::span<const AllocationItem> items, uint64_t budget, const AllocationLimits& limits = {});

}  // namespace thimble
