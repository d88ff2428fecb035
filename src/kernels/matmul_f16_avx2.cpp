// Matmul of F16 weights in AVX2: the algorithm of float_panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx2.h"

#include "kernels/float_panel_matmul.h"

namespace thimble::kernels {

void matmul_f16_avx2(const MatmulArgs& a) noexcept {
  matmul_float_panels<PanelF16>(a);
}

}  // namespace thimble::kernels
