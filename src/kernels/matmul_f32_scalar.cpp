// Reference matmul of F32 weights: scalar, and the specification of the x86 kernels.
#include <bit>

#include "kernels/matmul_functions.h"
#include "kernels/scalar_float.h"

namespace thimble::kernels {

namespace {

float bits_to_float(uint32_t bits) noexcept {
  return std::bit_cast<float>(bits);
}

}  // namespace

void matmul_f32_scalar(const MatmulArgs& a) noexcept {
  matmul_float_scalar<uint32_t, bits_to_float>(a);
}

}  // namespace thimble::kernels
