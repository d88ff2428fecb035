// Matmul of Q4_1 weights in AVX-512 VNNI: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx512_vnni.h"

#include "kernels/expand_block.h"
#include "kernels/tile_block.h"

namespace thimble::kernels {

void matmul_q4_1_avx512_vnni(const MatmulArgs& a) noexcept {
  matmul_panels<BlockKernel<PanelQ4_1>>(a);
}

}  // namespace thimble::kernels
