// The matmul kernels of this build, one row each, and their selection.
#include "kernels/matmul_functions.h"
#include "kernels/matmul_kernel.h"

namespace thimble::kernels {

namespace {

constexpr auto kF32 = ActivationLayout::f32;
constexpr auto kBlock = ActivationLayout::q8_block;
constexpr auto kSuper = ActivationLayout::q8_super;

#define THIMBLE_KERNEL(type, layout, isa, row_tile, column_tile, packed_lanes)                                  \
  {                                                                                                             \
    TensorType::type, layout, Isa::isa, "matmul_" #type "_" #isa, matmul_##type##_##isa, row_tile, column_tile, \
        packed_lanes                                                                                            \
  }

constexpr MatmulKernel kKernels[] = {
    THIMBLE_KERNEL(f32, kF32, scalar, 1, 1, 0),
    THIMBLE_KERNEL(f16, kF32, scalar, 1, 1, 0),
    THIMBLE_KERNEL(bf16, kF32, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q8_0, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q4_0, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q4_1, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q5_0, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q5_1, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(iq4_nl, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(i4_g64, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(i4_g128, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(i5_g64, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(i5_g128, kBlock, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q2_k, kSuper, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q3_k, kSuper, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q4_k, kSuper, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q5_k, kSuper, scalar, 1, 1, 0),
    THIMBLE_KERNEL(q6_k, kSuper, scalar, 1, 1, 0),
    THIMBLE_KERNEL(iq4_xs, kSuper, scalar, 1, 1, 0),
#if defined(__x86_64__)
    THIMBLE_KERNEL(q8_0, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q4_0, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q4_1, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q5_0, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q5_1, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(iq4_nl, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(i4_g64, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(i4_g128, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(i5_g64, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(i5_g128, kBlock, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q2_k, kSuper, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q3_k, kSuper, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q4_k, kSuper, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q5_k, kSuper, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q6_k, kSuper, avx2, 16, 4, 8),
    THIMBLE_KERNEL(iq4_xs, kSuper, avx2, 16, 4, 8),
    THIMBLE_KERNEL(q8_0, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q4_0, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q4_1, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q5_0, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q5_1, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(iq4_nl, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(i4_g64, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(i4_g128, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(i5_g64, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(i5_g128, kBlock, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q2_k, kSuper, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q3_k, kSuper, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q4_k, kSuper, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q5_k, kSuper, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q6_k, kSuper, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(iq4_xs, kSuper, avx512_vnni, 32, 4, 16),
    THIMBLE_KERNEL(q2_k, kSuper, avx512_amx, 32, 16, 16),
    THIMBLE_KERNEL(q3_k, kSuper, avx512_amx, 32, 16, 16),
    THIMBLE_KERNEL(q4_k, kSuper, avx512_amx, 32, 16, 16),
    THIMBLE_KERNEL(q5_k, kSuper, avx512_amx, 32, 16, 16),
    THIMBLE_KERNEL(q6_k, kSuper, avx512_amx, 32, 16, 16),
    THIMBLE_KERNEL(iq4_xs, kSuper, avx512_amx, 32, 16, 16),
    THIMBLE_KERNEL(f32, kF32, avx2, 16, 6, 0),
    THIMBLE_KERNEL(f16, kF32, avx2, 16, 6, 8),
    THIMBLE_KERNEL(bf16, kF32, avx2, 16, 6, 8),
    THIMBLE_KERNEL(f32, kF32, avx512_vnni, 32, 6, 0),
    THIMBLE_KERNEL(f16, kF32, avx512_vnni, 32, 6, 16),
    THIMBLE_KERNEL(bf16, kF32, avx512_vnni, 32, 6, 16),
#elif defined(__aarch64__)
    THIMBLE_KERNEL(f32, kF32, neon, 16, 8, 0),
    THIMBLE_KERNEL(f16, kF32, neon, 16, 8, 4),
    THIMBLE_KERNEL(bf16, kF32, neon, 16, 8, 4),
    THIMBLE_KERNEL(q8_0, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(q4_0, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(q4_1, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(q5_0, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(q5_1, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(iq4_nl, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(i4_g64, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(i4_g128, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(i5_g64, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(i5_g128, kBlock, neon, 4, 4, 4),
    THIMBLE_KERNEL(q2_k, kSuper, neon, 4, 4, 4),
    THIMBLE_KERNEL(q3_k, kSuper, neon, 4, 4, 4),
    THIMBLE_KERNEL(q4_k, kSuper, neon, 4, 4, 4),
    THIMBLE_KERNEL(q5_k, kSuper, neon, 4, 4, 4),
    THIMBLE_KERNEL(q6_k, kSuper, neon, 4, 4, 4),
    THIMBLE_KERNEL(iq4_xs, kSuper, neon, 4, 4, 4),
    THIMBLE_KERNEL(q8_0, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q4_0, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q4_1, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q5_0, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q5_1, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(iq4_nl, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(i4_g64, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(i4_g128, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(i5_g64, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(i5_g128, kBlock, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q2_k, kSuper, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q3_k, kSuper, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q4_k, kSuper, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q5_k, kSuper, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q6_k, kSuper, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(iq4_xs, kSuper, neon_dotprod, 4, 4, 4),
    THIMBLE_KERNEL(q8_0, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(q4_0, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(q4_1, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(q5_0, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(q5_1, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(iq4_nl, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(i4_g64, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(i4_g128, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(i5_g64, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(i5_g128, kBlock, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(q2_k, kSuper, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(q3_k, kSuper, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(q4_k, kSuper, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(q5_k, kSuper, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(q6_k, kSuper, neon_i8mm, 4, 8, 4),
    THIMBLE_KERNEL(iq4_xs, kSuper, neon_i8mm, 4, 8, 4),
#endif
};

}  // namespace

std::span<const MatmulKernel> matmul_kernels() noexcept {
  return kKernels;
}

const MatmulKernel* select(TensorType type, Isa isa) {
  for (const Isa candidate : fallbacks(isa)) {
    for (const MatmulKernel& kernel : kKernels) {
      if (kernel.type == type && kernel.isa == candidate) return &kernel;
    }
  }
  return nullptr;
}

size_t activation_row_bytes(ActivationLayout layout, int64_t k) noexcept {
  const auto n = static_cast<size_t>(k);
  if (layout == ActivationLayout::f32) return n * sizeof(float);
  return (n + 255) / 256 * sizeof(ActivationGroup);
}

}  // namespace thimble::kernels
