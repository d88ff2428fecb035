// Scale searches and encoders of block-quantized types by instruction set. Plain declarations only, because files
// compiled for one instruction set include them.
#pragma once

#include "kernels/isa.h"
#include "tensor/grid_fit.h"

namespace thimble::kernels {

extern const GridKernels kGridFitAvx2;
extern const GridKernels kGridFitAvx512Vnni;
extern const GridKernels kGridFitNeon;

/// The first table of fallbacks(isa) that this build has; kGridFitScalar at last. Pure, never null. All tables give the
/// same bits.
const GridKernels* select_grid_fit(Isa isa);

/// Functions of one type, or null for types that are not block-quantized.
FitBlocksFn select_fit_blocks(TensorType type, Isa isa);
EncodeRowsFn select_encode_rows(TensorType type, Isa isa);

}  // namespace thimble::kernels
