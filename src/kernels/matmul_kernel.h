// The registry of matmul kernels: one row per weight type and instruction set. Selection is a pure function of both.
//
// Results: every q8 kernel computes its integer part exactly and does the same float operations in the same order as
// the scalar kernel of its type, so all instruction sets agree bit for bit, whatever n_cols, n_rows and the layout of
// the weights are. So do kernels of the f32 layout on x86; those of NEON sum in another order.
#pragma once

#include <span>
#include <string_view>

#include "kernels/isa.h"
#include "kernels/matmul_args.h"
#include "tensor/tensor_type.h"

namespace thimble::kernels {

struct MatmulKernel {
  TensorType type;
  ActivationLayout layout;
  Isa isa;
  std::string_view name;  // function name = file name
  MatmulFn function;
  int row_tile;          // rows that share one pass: split work at multiples of it
  int column_tile;       // columns that are multiplied per load of a weight
  int packed_lanes = 0;  // rows of the packed panels it also reads (packed_layout.h); 0: only the GGUF layout
};

/// Every kernel of this build.
std::span<const MatmulKernel> matmul_kernels() noexcept;

/// The kernel that a machine of `isa` uses for weights of `type`: the first of fallbacks(isa) that has one, or null
/// when no kernel multiplies by this type.
const MatmulKernel* select(TensorType type, Isa isa);

/// Bytes of one row of `k` activations in `layout`.
size_t activation_row_bytes(ActivationLayout layout, int64_t k) noexcept;

}  // namespace thimble::kernels
