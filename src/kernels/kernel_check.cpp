// A small product by a kernel and by the scalar kernel of its type, compared bit for bit. Fixed arrays: nothing can
// fail here but the kernel.
#include "kernels/kernel_check.h"

#include <bit>
#include <cstring>
#include <iterator>

#include "base/cpu.h"
#include "base/float16.h"
#include "kernels/group_sums.h"
#include "kernels/packed_layout.h"
#include "tensor/blocks.h"

namespace thimble::kernels {

namespace {

// Two passes of 32 rows, the last with one; three of 16 columns, the last one overlapping; two groups.
constexpr int64_t kRows = 33;
constexpr int64_t kColumns = 33;
constexpr int64_t kGroups = 2;
constexpr int64_t kElements = kGroups * kSuperBlock;
constexpr size_t kMaxRowBytes = kGroups * sizeof(BlockQ6K);
constexpr int64_t kMaxLanes = 16;
constexpr int64_t kPaddedRows = (kRows + kMaxLanes - 1) / kMaxLanes * kMaxLanes;

struct Product {
  alignas(64) ActivationGroup x[kColumns][kGroups];
  alignas(64) std::byte weights[kPaddedRows * kMaxRowBytes];
  alignas(64) std::byte packed[kPaddedRows * kMaxRowBytes];
  float expected[kColumns * kRows];
  float actual[kColumns * kRows];
  uint32_t state = 1;

  // Numerical Recipes' linear congruential generator; its high bits are random enough for this.
  uint32_t random() noexcept {
    state = state * 1664525u + 1013904223u;
    return state >> 16;
  }
};

struct Halves {
  size_t d, dmin;
};

// Where a block has its half-precision numbers: random bits there would be infinities.
Halves halves(TensorType type) noexcept {
  switch (type) {
    case TensorType::q2_k:
      return {offsetof(BlockQ2K, d), offsetof(BlockQ2K, dmin)};
    case TensorType::q3_k:
      return {offsetof(BlockQ3K, d), offsetof(BlockQ3K, d)};
    case TensorType::q4_k:
    case TensorType::q5_k:
      return {offsetof(BlockQ4K, d), offsetof(BlockQ4K, dmin)};
    case TensorType::q6_k:
      return {offsetof(BlockQ6K, d), offsetof(BlockQ6K, d)};
    default:
      return {offsetof(BlockIQ4_XS, d), offsetof(BlockIQ4_XS, d)};
  }
}

void fill_activations(Product& p) noexcept {
  for (auto& column : p.x) {
    for (ActivationGroup& group : column) {
      for (int i = 0; i < kSuperBlock; ++i) group.q[i] = static_cast<int8_t>(static_cast<int>(p.random() % 255) - 127);
      const float d = static_cast<float>(p.random() % 1000 + 1) * 1e-3f;
      for (float& each : group.d) each = d;
      set_sums(group, true);
    }
  }
}

void fill_weights(TensorType type, Product& p) noexcept {
  const size_t block_bytes = traits(type).block_bytes;
  const Halves at = halves(type);
  for (int64_t b = 0; b < kRows * kGroups; ++b) {
    std::byte* block = p.weights + static_cast<size_t>(b) * block_bytes;
    for (size_t i = 0; i < block_bytes; ++i) block[i] = static_cast<std::byte>(p.random() & 255);
    for (const size_t offset : {at.d, at.dmin}) {
      const uint16_t half = f32_to_f16(static_cast<float>(static_cast<int>(p.random() % 2001) - 1000) * 1e-3f);
      std::memcpy(block + offset, &half, sizeof half);
    }
  }
}

MatmulArgs arguments(TensorType type, const Product& p, float* out) noexcept {
  return {.weights = p.weights,
          .weight_stride = static_cast<size_t>(kGroups) * traits(type).block_bytes,
          .x = reinterpret_cast<const std::byte*>(p.x),
          .x_stride = sizeof p.x[0],
          .out = out,
          .out_stride = kRows,
          .n_rows = kRows,
          .n_cols = kColumns,
          .k = kElements};
}

bool agrees(MatmulFn function, const MatmulArgs& args, Product& p) noexcept {
  std::memset(p.actual, 0xA5, sizeof p.actual);
  function(args);
  for (size_t i = 0; i < std::size(p.expected); ++i) {
    if (std::bit_cast<uint32_t>(p.actual[i]) != std::bit_cast<uint32_t>(p.expected[i])) return false;
  }
  return true;
}

bool is_right(const MatmulKernel& kernel, Product& p) noexcept {
  const MatmulKernel* scalar = nullptr;
  for (const MatmulKernel& row : matmul_kernels()) {
    if (row.type == kernel.type && row.isa == Isa::scalar) scalar = &row;
  }
  if (scalar == nullptr) return false;
  fill_weights(kernel.type, p);
  scalar->function(arguments(kernel.type, p, p.expected));
  MatmulArgs args = arguments(kernel.type, p, p.actual);
  if (!agrees(kernel.function, args, p)) return false;
  const int lanes = kernel.packed_lanes;
  if (lanes == 0) return true;
  const size_t panel_bytes = packed_panel_bytes(kernel.type, lanes, kElements);
  for (int64_t row = 0; row < kRows; row += lanes) {
    const int64_t here = kRows - row < lanes ? kRows - row : lanes;
    pack_panel(kernel.type, lanes, args.weights + static_cast<size_t>(row) * args.weight_stride, args.weight_stride,
               here, kElements, p.packed + static_cast<size_t>(row / lanes) * panel_bytes);
  }
  args.weights = p.packed;
  args.weight_stride = panel_bytes;
  args.packed = true;
  return agrees(kernel.function, args, p);
}

}  // namespace

std::string_view find_wrong_kernel(std::span<const MatmulKernel> kernels) noexcept {
  Product product;
  fill_activations(product);
  for (const MatmulKernel& kernel : kernels) {
    if (!is_right(kernel, product)) return kernel.name;
  }
  return {};
}

std::string_view wrong_amx_kernel() noexcept {
  static const std::string_view wrong = [] {
    std::string_view found;
    if (!host_cpu().amx_int8) return found;
    for (const MatmulKernel& kernel : matmul_kernels()) {
      if (kernel.isa == Isa::avx512_amx && found.empty()) found = find_wrong_kernel({&kernel, 1});
    }
    return found;
  }();
  return wrong;
}

}  // namespace thimble::kernels
