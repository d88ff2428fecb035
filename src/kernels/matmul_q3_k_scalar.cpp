// Reference matmul of Q3_K weights: scalar, and the specification of every other Q3_K kernel.
#include "kernels/matmul_functions.h"
#include "kernels/scalar_matmul.h"

namespace thimble::kernels {
namespace {

void unpack(const BlockQ3K& b, UnpackedSuper& w) noexcept {
  w.d = f16_to_f32(b.d);
  w.dmin = 0.0f;
  for (int s = 0; s < 16; ++s) {
    w.scale[s] = unpack_q3_scale(b.scales, s);
    w.min[s] = 0;
  }
  for (int i = 0; i < 256; ++i) {
    const int low = (b.qs[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32))) & 3;
    const int high = (b.hmask[i % 32] >> (i / 32)) & 1;
    w.q[i] = low + 4 * high - 4;
  }
}

}  // namespace

void matmul_q3_k_scalar(const MatmulArgs& a) noexcept {
  matmul_super_scalar<BlockQ3K, unpack>(a);
}

}  // namespace thimble::kernels
