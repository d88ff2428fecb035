// Reference matmul of F16 weights: scalar, and the specification of the x86 kernels.
#include "base/float16.h"
#include "kernels/matmul_functions.h"
#include "kernels/scalar_float.h"

namespace thimble::kernels {

void matmul_f16_scalar(const MatmulArgs& a) noexcept {
  matmul_float_scalar<uint16_t, f16_to_f32>(a);
}

}  // namespace thimble::kernels
