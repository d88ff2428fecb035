// Scale searches with eight blocks in the lanes of AVX2 registers: the text of tensor/lane_rows.h.
#include "kernels/grid_fit.h"
// The vocabulary comes before what is written against it.
#include "kernels/simd_lanes_avx2.h"

#include "tensor/lane_table.h"

namespace thimble::kernels {

constinit const GridKernels kGridFitAvx2 = lane_table();

}  // namespace thimble::kernels
