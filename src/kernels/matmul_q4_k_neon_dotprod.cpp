// Matmul of Q4_K weights in NEON with dot products: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_neon_dotprod.h"

#include "kernels/expand_super.h"
#include "kernels/simd_neon_gemv_super.h"
#include "kernels/simd_neon_tile_super.h"

namespace thimble::kernels {

void matmul_q4_k_neon_dotprod(const MatmulArgs& a) noexcept {
  if (a.packed && a.n_cols == 1) return gemv_packed<GemvQ4K>(a);
  matmul_panels<TileSuperKernel<PanelQ4K>>(a);
}

}  // namespace thimble::kernels
