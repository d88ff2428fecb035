// Whether kernels compute what the scalar ones do, asked on the machine that is about to use them. For instruction sets
// that no machine of the developers has: AMX.
#pragma once

#include <span>
#include <string_view>

#include "kernels/matmul_kernel.h"

namespace thimble::kernels {

/// Name of the first of `kernels` whose result of a small product, from GGUF or packed weights, differs from the scalar
/// kernel's in any bit; empty when none does. All must read ActivationLayout::q8_super; about a millisecond each.
std::string_view find_wrong_kernel(std::span<const MatmulKernel> kernels) noexcept;

/// The same for the AMX kernels on this processor, found out once per process. Empty where host_cpu() has no AMX.
/// supports() and best_isa() leave AMX out when it is not empty. Thread-safe.
std::string_view wrong_amx_kernel() noexcept;

}  // namespace thimble::kernels
