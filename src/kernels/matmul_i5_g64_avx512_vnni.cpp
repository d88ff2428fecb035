// Matmul of I5_G64 weights in AVX-512 VNNI: the panel algorithm of panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx512_vnni.h"

#include "kernels/expand_group.h"
#include "kernels/tile_group.h"

namespace thimble::kernels {

void matmul_i5_g64_avx512_vnni(const MatmulArgs& a) noexcept {
  matmul_panels<GroupKernel<PanelI5_G64>>(a);
}

}  // namespace thimble::kernels
