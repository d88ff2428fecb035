// Matmul of Q5_1 weights in AVX2: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx2.h"

#include "kernels/expand_block.h"
#include "kernels/tile_block.h"

namespace thimble::kernels {

void matmul_q5_1_avx2(const MatmulArgs& a) noexcept {
  matmul_panels<BlockKernel<PanelQ5_1>>(a);
}

}  // namespace thimble::kernels
