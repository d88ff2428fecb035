// Matmul of Q3_K weights in AMX int8 tiles: the algorithm of amx_matmul.h.
#include "kernels/matmul_functions.h"
// The vocabulary comes first: the other headers are written against it.
#include "kernels/simd_avx512_amx.h"

#include "kernels/amx_matmul.h"

namespace thimble::kernels {

void matmul_q3_k_avx512_amx(const MatmulArgs& a) noexcept {
  matmul_tiles<PanelQ3K>(a, matmul_q3_k_avx512_vnni);
}

}  // namespace thimble::kernels
