// Matmul of Q5_K weights in AVX2: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx2.h"

#include "kernels/expand_super.h"
#include "kernels/tile_super.h"

namespace thimble::kernels {

void matmul_q5_k_avx2(const MatmulArgs& a) noexcept {
  matmul_panels<SuperKernel<PanelQ5K>>(a);
}

}  // namespace thimble::kernels
