// Reference matmul of Q5_K weights: scalar, and the specification of every other Q5_K kernel.
#include "kernels/matmul_functions.h"
#include "kernels/scalar_matmul.h"

namespace thimble::kernels {
namespace {

void unpack(const BlockQ5K& b, UnpackedSuper& w) noexcept {
  w.d = f16_to_f32(b.d);
  w.dmin = f16_to_f32(b.dmin);
  for (int s = 0; s < 16; ++s) {
    const ScaleMin sm = unpack_scale_min(b.scales, s / 2);
    w.scale[s] = sm.scale;
    w.min[s] = sm.min;
  }
  for (int i = 0; i < 256; ++i) {
    const int low = (b.qs[32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 15;
    const int high = (b.qh[i % 32] >> (i / 32)) & 1;
    w.q[i] = low + 16 * high;
  }
}

}  // namespace

void matmul_q5_k_scalar(const MatmulArgs& a) noexcept {
  matmul_super_scalar<BlockQ5K, unpack>(a);
}

}  // namespace thimble::kernels
