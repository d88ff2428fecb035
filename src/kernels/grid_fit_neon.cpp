// Scale searches with four blocks in the lanes of NEON registers: the text of tensor/lane_rows.h.
#include "kernels/grid_fit.h"
// The vocabulary comes before what is written against it.
#include "kernels/simd_lanes_neon.h"

#include "tensor/lane_table.h"

namespace thimble::kernels {

constinit const GridKernels kGridFitNeon = lane_table();

}  // namespace thimble::kernels
