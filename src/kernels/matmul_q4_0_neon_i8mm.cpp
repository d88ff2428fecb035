// Matmul of Q4_0 weights in NEON with 8-bit matrix products: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_neon_i8mm.h"

#include "kernels/expand_block.h"
#include "kernels/simd_neon_gemv_block.h"
#include "kernels/simd_neon_tile_block.h"

namespace thimble::kernels {

void matmul_q4_0_neon_i8mm(const MatmulArgs& a) noexcept {
  if (a.packed && a.n_cols == 1) return gemv_packed<GemvQ4_0>(a);
  matmul_panels<TileBlockKernel<PanelQ4_0>>(a);
}

}  // namespace thimble::kernels
