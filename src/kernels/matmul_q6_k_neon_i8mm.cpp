// Matmul of Q6_K weights in NEON with 8-bit matrix products: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_neon_i8mm.h"

#include "kernels/expand_super.h"
#include "kernels/simd_neon_gemv_super.h"
#include "kernels/simd_neon_tile_super.h"

namespace thimble::kernels {

void matmul_q6_k_neon_i8mm(const MatmulArgs& a) noexcept {
  if (a.packed && a.n_cols == 1) return gemv_packed<GemvQ6K>(a);
  matmul_panels<TileSuperKernel<PanelQ6K>>(a);
}

}  // namespace thimble::kernels
