// Matmul of I4_G64 weights in NEON with 8-bit matrix products: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_neon_i8mm.h"

#include "kernels/expand_group.h"
#include "kernels/simd_neon_gemv_group.h"
#include "kernels/simd_neon_tile_group.h"

namespace thimble::kernels {

void matmul_i4_g64_neon_i8mm(const MatmulArgs& a) noexcept {
  if (a.packed && a.n_cols == 1) return gemv_group_packed<GemvI4_G64>(a);
  matmul_panels<TileGroupKernel<PanelI4_G64>>(a);
}

}  // namespace thimble::kernels
