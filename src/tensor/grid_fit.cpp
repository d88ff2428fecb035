// The portable instance of the scale searches: four lanes of the compilers' vector type, which every target has.
#include "tensor/grid_fit.h"

// The vocabulary comes before what is written against it.
#include "tensor/lanes_portable.h"

#include "tensor/lane_rows.h"
#include "tensor/lane_table.h"

namespace thimble {

constinit const GridKernels kGridFitScalar = lane_table();

int fit_index(TensorType type) noexcept {
  for (size_t i = 0; i < kFitTypes; ++i) {
    if (kFitSpecs[i].type == type) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace thimble
