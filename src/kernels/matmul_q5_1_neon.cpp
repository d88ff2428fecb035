// Matmul of Q5_1 weights in NEON without extensions: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_neon.h"

#include "kernels/expand_block.h"
#include "kernels/simd_neon_tile_block.h"

namespace thimble::kernels {

void matmul_q5_1_neon(const MatmulArgs& a) noexcept {
  matmul_panels<TileBlockKernel<PanelQ5_1>>(a);
}

}  // namespace thimble::kernels
