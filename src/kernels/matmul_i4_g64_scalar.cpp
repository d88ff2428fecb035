// Reference matmul of I4_G64 weights: scalar, and the specification of every other I4_G64 kernel.
#include "kernels/matmul_functions.h"
#include "kernels/scalar_matmul.h"

namespace thimble::kernels {

void matmul_i4_g64_scalar(const MatmulArgs& a) noexcept {
  matmul_group_scalar<BlockI4_G64>(a);
}

}  // namespace thimble::kernels
