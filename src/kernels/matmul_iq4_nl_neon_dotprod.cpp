// Matmul of IQ4_NL weights in NEON with dot products: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_neon_dotprod.h"

#include "kernels/expand_block.h"
#include "kernels/simd_neon_gemv_block.h"
#include "kernels/simd_neon_tile_block.h"

namespace thimble::kernels {

void matmul_iq4_nl_neon_dotprod(const MatmulArgs& a) noexcept {
  if (a.packed && a.n_cols == 1) return gemv_packed<GemvIQ4_NL>(a);
  matmul_panels<TileBlockKernel<PanelIQ4_NL>>(a);
}

}  // namespace thimble::kernels
