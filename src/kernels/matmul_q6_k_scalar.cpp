// Reference matmul of Q6_K weights: scalar, and the specification of every other Q6_K kernel.
#include "kernels/matmul_functions.h"
#include "kernels/scalar_matmul.h"

namespace thimble::kernels {
namespace {

void unpack(const BlockQ6K& b, UnpackedSuper& w) noexcept {
  w.d = f16_to_f32(b.d);
  w.dmin = 0.0f;
  for (int s = 0; s < 16; ++s) {
    w.scale[s] = b.scales[s];
    w.min[s] = 0;
  }
  for (int i = 0; i < 256; ++i) {
    const int low = (b.ql[64 * (i / 128) + i % 64] >> (4 * (i % 128 / 64))) & 15;
    const int high = (b.qh[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32))) & 3;
    w.q[i] = (low | (high << 4)) - 32;
  }
}

}  // namespace

void matmul_q6_k_scalar(const MatmulArgs& a) noexcept {
  matmul_super_scalar<BlockQ6K, unpack>(a);
}

}  // namespace thimble::kernels
