// The vector kernels of this build, by instruction set.
#include "kernels/vector_registry.h"

namespace thimble::kernels {

namespace {

struct Row {
  Isa isa;
  const VectorKernels* kernels;
};

constexpr Row kRows[] = {
    {Isa::scalar, &kVectorScalar},
#if defined(__x86_64__)
    {Isa::avx2, &kVectorAvx2},
    {Isa::avx512_vnni, &kVectorAvx512Vnni},
#elif defined(__aarch64__)
    {Isa::neon, &kVectorNeon},
    {Isa::neon_dotprod, &kVectorNeonDotprod},
#endif
};

}  // namespace

const VectorKernels* select_vector(Isa isa) {
  for (const Isa candidate : fallbacks(isa)) {
    for (const Row& row : kRows) {
      if (row.isa == candidate) return row.kernels;
    }
  }
  return &kVectorScalar;
}

}  // namespace thimble::kernels
