// Matmul of Q2_K weights in NEON without extensions: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_neon.h"

#include "kernels/expand_super.h"
#include "kernels/simd_neon_tile_super.h"

namespace thimble::kernels {

void matmul_q2_k_neon(const MatmulArgs& a) noexcept {
  matmul_panels<TileSuperKernel<PanelQ2K>>(a);
}

}  // namespace thimble::kernels
