// Matmul of F16 weights in NEON: the algorithm of float_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_float_neon.h"

#include "kernels/float_matmul.h"

namespace thimble::kernels {

void matmul_f16_neon(const MatmulArgs& a) noexcept {
  matmul_floats<ElementF16>(a);
}

}  // namespace thimble::kernels
