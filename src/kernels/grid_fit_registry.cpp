// The scale searches of this build, by instruction set.
#include "kernels/grid_fit.h"

namespace thimble::kernels {

namespace {

struct Row {
  Isa isa;
  const GridKernels* kernels;
};

constexpr Row kRows[] = {
#if defined(__x86_64__)
    {Isa::avx2, &kGridFitAvx2},
    {Isa::avx512_vnni, &kGridFitAvx512Vnni},
#elif defined(__aarch64__)
    {Isa::neon, &kGridFitNeon},
#endif
    {Isa::scalar, &kGridFitScalar},
};

}  // namespace

const GridKernels* select_grid_fit(Isa isa) {
  for (const Isa candidate : fallbacks(isa)) {
    for (const Row& row : kRows) {
      if (row.isa == candidate) return row.kernels;
    }
  }
  return &kGridFitScalar;
}

FitBlocksFn select_fit_blocks(TensorType type, Isa isa) {
  const int index = fit_index(type);
  return index < 0 ? nullptr : select_grid_fit(isa)->fit_blocks[index];
}

EncodeRowsFn select_encode_rows(TensorType type, Isa isa) {
  const int index = fit_index(type);
  return index < 0 ? nullptr : select_grid_fit(isa)->encode_rows[index];
}

}  // namespace thimble::kernels
