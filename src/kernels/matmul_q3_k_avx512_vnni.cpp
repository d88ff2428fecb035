// Matmul of Q3_K weights in AVX-512 VNNI: the panel algorithm of panel_matmul.h with scales in pairs
// (paired_super.h).
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx512_vnni.h"

#include "kernels/expand_super.h"
#include "kernels/paired_super.h"

namespace thimble::kernels {

void matmul_q3_k_avx512_vnni(const MatmulArgs& a) noexcept {
  matmul_panels<PairedKernel<PanelQ3K>>(a);
}

}  // namespace thimble::kernels
