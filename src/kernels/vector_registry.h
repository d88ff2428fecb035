// Selection of the vector kernels of an instruction set.
#pragma once

#include "kernels/isa.h"
#include "kernels/vector_kernel.h"

namespace thimble::kernels {

/// The first table of fallbacks(isa) that this build has; the scalar one at last. Pure, never null.
const VectorKernels* select_vector(Isa isa);

}  // namespace thimble::kernels
