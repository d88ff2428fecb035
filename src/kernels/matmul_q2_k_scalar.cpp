// Reference matmul of Q2_K weights: scalar, and the specification of every other Q2_K kernel.
#include "kernels/matmul_functions.h"
#include "kernels/scalar_matmul.h"

namespace thimble::kernels {
namespace {

void unpack(const BlockQ2K& b, UnpackedSuper& w) noexcept {
  w.d = f16_to_f32(b.d);
  w.dmin = f16_to_f32(b.dmin);
  for (int s = 0; s < 16; ++s) {
    w.scale[s] = b.scales[s] & 15;
    w.min[s] = b.scales[s] >> 4;
  }
  for (int i = 0; i < 256; ++i) w.q[i] = (b.qs[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32))) & 3;
}

}  // namespace

void matmul_q2_k_scalar(const MatmulArgs& a) noexcept {
  matmul_super_scalar<BlockQ2K, unpack>(a);
}

}  // namespace thimble::kernels
