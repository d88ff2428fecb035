// Reference matmul of IQ4_XS weights: scalar, and the specification of every other IQ4_XS kernel.
#include "kernels/matmul_functions.h"
#include "kernels/scalar_matmul.h"

namespace thimble::kernels {
namespace {

void unpack(const BlockIQ4_XS& b, UnpackedSuper& w) noexcept {
  w.d = f16_to_f32(b.d);
  w.dmin = 0.0f;
  for (int s = 0; s < 16; ++s) {
    w.scale[s] = unpack_iq4_scale(b, s / 2);
    w.min[s] = 0;
  }
  for (int i = 0; i < 256; ++i) w.q[i] = kIq4Values[(b.qs[16 * (i / 32) + i % 16] >> (4 * (i % 32 / 16))) & 15];
}

}  // namespace

void matmul_iq4_xs_scalar(const MatmulArgs& a) noexcept {
  matmul_super_scalar<BlockIQ4_XS, unpack>(a);
}

}  // namespace thimble::kernels
