// Matmul of BF16 weights in AVX-512: the algorithm of float_panel_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx512_vnni.h"

#include "kernels/float_panel_matmul.h"

namespace thimble::kernels {

void matmul_bf16_avx512_vnni(const MatmulArgs& a) noexcept {
  matmul_float_panels<PanelBf16>(a);
}

}  // namespace thimble::kernels
