// Matmul of I4_G64 weights in NEON without extensions: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_neon.h"

#include "kernels/expand_group.h"
#include "kernels/simd_neon_tile_group.h"

namespace thimble::kernels {

void matmul_i4_g64_neon(const MatmulArgs& a) noexcept {
  matmul_panels<TileGroupKernel<PanelI4_G64>>(a);
}

}  // namespace thimble::kernels
