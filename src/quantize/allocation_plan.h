// From a size wish and measured losses to a recipe: which tensors of a model are allocated, between which types, what
// a target leaves for them in exact bytes, and the recipe that quantize() then follows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "quantize/allocation.h"
#include "quantize/quantize.h"
#include "quantize/scheme.h"

namespace thimble {

/// What the result may not exceed.
struct SizeTarget {
  enum class Measure {
    file_bytes,            // the whole file: header, metadata, padding and tensors
    bits_per_weight,       // tensor data over all weights
    body_bits_per_weight,  // without token embedding and output head, which then keep the types of the base recipe
  };
  Measure measure = Measure::file_bytes;
  double value = 0;  // bytes or bits
};

/// "3.6GB", "4330784", "900 MiB": KB MB GB are powers of 1000, KiB MiB GiB of 1024, case does not matter. Rounded down
/// to whole bytes. Errors: invalid_argument.
SizeTarget parse_target_size(std::string_view text);

/// Types to choose between.
struct AllocationTypes {
  std::vector<TensorType> candidates;  // empty: default_allocation_types() of each tensor
  std::vector<TensorType> fast;        // only these of them; empty: all
};

/// Types worth choosing between for rows of `n_in` columns: q3_k iq4_xs q4_k q5_k q6_k q8_0 where 256 divides them,
/// else iq4_nl q4_1 q5_0 q5_1 q8_0 where 32 does.
std::vector<TensorType> default_allocation_types(int64_t n_in);

/// A tensor whose type is to be chosen.
struct AllocatableTensor {
  std::string name;
  std::vector<TensorType> types;  // at least one
};

/// The tensors of `input` that the target counts and no rule of `base` names: those keep the rule's type. Norms, biases
/// and rows that no type divides stay as the base recipe has them.
/// Errors: invalid_argument when no type is left for a tensor (naming it), or no tensor to choose for.
std::vector<AllocatableTensor> allocatable_tensors(const GgufFile& input, const Recipe& base, const SizeTarget& target,
                                                   const AllocationTypes& types);

/// Predicted loss of one tensor in one type, the rest of the model being float.
struct TypeLoss {
  std::string tensor;
  TensorType type = TensorType::f32;
  double loss = 0;
};

struct AllocationPlan {
  Recipe recipe;            // base with one rule for each allocated tensor
  QuantizeResult sizes;     // what quantize() writes for it
  double loss = 0;          // predicted: sum over allocated tensors
  double loss_bound = 0;    // no allocation of this size is predicted to lose less
  uint64_t bytes_left = 0;  // of the target
};

/// What quantize() would write for a recipe. plan_quantize() with the caller's other settings.
using PlanFn = std::function<QuantizeResult(const Recipe&)>;

/// The recipe of least predicted loss within `target`. `losses` has one entry for each type of each of `tensors`.
/// Errors: invalid_argument when the target is smaller than the smallest possible result (named), or a loss is missing.
AllocationPlan plan_allocation(const GgufFile& input, const Recipe& base, std::span<const AllocatableTensor> tensors,
                               std::span<const TypeLoss> losses, const SizeTarget& target, const PlanFn& plan);

}  // namespace thimble
