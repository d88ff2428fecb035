// Reference matmul of IQ4_NL weights: scalar, and the specification of every other IQ4_NL kernel.
#include "kernels/matmul_functions.h"
#include "kernels/scalar_matmul.h"

namespace thimble::kernels {
namespace {

UnpackedBlock unpack(const BlockIQ4_NL& b) noexcept {
  UnpackedBlock w = {};
  w.d = f16_to_f32(b.d);
  for (int j = 0; j < 16; ++j) {
    w.q[j] = kIq4Values[b.qs[j] & 15];
    w.q[j + 16] = kIq4Values[b.qs[j] >> 4];
  }
  return w;
}

}  // namespace

void matmul_iq4_nl_scalar(const MatmulArgs& a) noexcept {
  matmul_block_scalar<BlockIQ4_NL, unpack>(a);
}

}  // namespace thimble::kernels
