// Reference matmul of Q8_0 weights: scalar, and the specification of every other Q8_0 kernel.
#include "kernels/matmul_functions.h"
#include "kernels/scalar_matmul.h"

namespace thimble::kernels {
namespace {

UnpackedBlock unpack(const BlockQ8_0& b) noexcept {
  UnpackedBlock w = {};
  w.d = f16_to_f32(b.d);
  for (int j = 0; j < 32; ++j) w.q[j] = b.qs[j];
  return w;
}

}  // namespace

void matmul_q8_0_scalar(const MatmulArgs& a) noexcept {
  matmul_block_scalar<BlockQ8_0, unpack>(a);
}

}  // namespace thimble::kernels
