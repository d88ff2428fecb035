// Matmul of I4_G64 weights in AVX2: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx2.h"

#include "kernels/expand_group.h"
#include "kernels/tile_group.h"

namespace thimble::kernels {

void matmul_i4_g64_avx2(const MatmulArgs& a) noexcept {
  matmul_panels<GroupKernel<PanelI4_G64>>(a);
}

}  // namespace thimble::kernels
