// Reference matmul of Q4_1 weights: scalar, and the specification of every other Q4_1 kernel.
#include "kernels/matmul_functions.h"
#include "kernels/scalar_matmul.h"

namespace thimble::kernels {
namespace {

UnpackedBlock unpack(const BlockQ4_1& b) noexcept {
  UnpackedBlock w = {};
  w.d = f16_to_f32(b.d);
  w.m = f16_to_f32(b.m);
  for (int j = 0; j < 16; ++j) {
    w.q[j] = b.qs[j] & 15;
    w.q[j + 16] = b.qs[j] >> 4;
  }
  return w;
}

}  // namespace

void matmul_q4_1_scalar(const MatmulArgs& a) noexcept {
  matmul_block_scalar<BlockQ4_1, unpack>(a);
}

}  // namespace thimble::kernels
