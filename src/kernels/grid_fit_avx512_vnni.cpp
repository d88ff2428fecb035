// Scale searches with sixteen blocks in the lanes of AVX-512 registers: the text of tensor/lane_rows.h.
#include "kernels/grid_fit.h"
// The vocabulary comes before what is written against it.
#include "kernels/simd_lanes_avx512_vnni.h"

#include "tensor/lane_table.h"

namespace thimble::kernels {

constinit const GridKernels kGridFitAvx512Vnni = lane_table();

}  // namespace thimble::kernels
