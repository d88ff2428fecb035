// Matmul of IQ4_XS weights in AVX-512 VNNI: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx512_vnni.h"

#include "kernels/expand_super.h"
#include "kernels/tile_super.h"

namespace thimble::kernels {

void matmul_iq4_xs_avx512_vnni(const MatmulArgs& a) noexcept {
  matmul_panels<SuperKernel<PanelIQ4_XS>>(a);
}

}  // namespace thimble::kernels
