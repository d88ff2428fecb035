// Binding of a machine and of weights to kernels, and the memory that operations borrow.
#include <algorithm>

#include "base/cpu.h"
#include "base/error.h"
#include "kernels/matmul_kernel.h"
#include "kernels/packed_layout.h"
#include "kernels/vector_registry.h"
#include "ops/ops.h"

namespace thimble::ops {

Backend make_backend(ThreadPool& pool, kernels::Isa isa) {
  if (!kernels::supports(host_cpu(), isa)) {
    fail(ErrorCode::unsupported, "instruction set {}: this processor ({}) does not have it; the best it has is {}",
         kernels::isa_name(isa), cpu_model_name(), kernels::isa_name(kernels::best_isa(host_cpu())));
  }
  return {&pool, isa, kernels::select_vector(isa), host_cpu().wants_prefetch};
}

Weight prepare_weight(const TensorView& view, kernels::Isa isa) {
  const kernels::MatmulKernel* kernel = kernels::select(view.type, isa);
  const TypeTraits& type = traits(view.type);
  if (kernel == nullptr) fail(ErrorCode::unsupported, "matmul: no kernel multiplies by {} weights", type.name);
  const int64_t block = type.block_elems;
  if (view.ne[0] < 1 || view.ne[0] % block != 0) {
    fail(ErrorCode::unsupported, "matmul: {} weights with rows of {} elements, expected a multiple of {}", type.name,
         view.ne[0], block);
  }
  return {view, kernel, nullptr};
}

int packed_lanes(TensorType type, kernels::Isa isa) {
  const kernels::MatmulKernel* kernel = kernels::select(type, isa);
  return kernel == nullptr ? 0 : kernel->packed_lanes;
}

size_t packed_bytes(const TensorView& view, kernels::Isa isa) {
  const int lanes = prepare_weight(view, isa).kernel->packed_lanes;
  if (lanes == 0) return 0;
  const int64_t n_panels = (view.n_rows() + lanes - 1) / lanes;
  return static_cast<size_t>(n_panels) * kernels::packed_panel_bytes(view.type, lanes, view.ne[0]);
}

void pack_panels(const TensorView& view, kernels::Isa isa, int64_t begin, int64_t end, std::byte* out) noexcept {
  const int lanes = packed_lanes(view.type, isa);
  const size_t panel_bytes = kernels::packed_panel_bytes(view.type, lanes, view.ne[0]);
  for (int64_t p = begin; p < end; ++p) {
    const int64_t row = p * lanes;
    const int64_t n_rows = std::min<int64_t>(lanes, view.n_rows() - row);
    kernels::pack_panel(view.type, lanes, view.row(row), view.row_bytes(), n_rows, view.ne[0], out);
    out += panel_bytes;
  }
}

Weight prepare_packed_weight(const TensorView& view, kernels::Isa isa, const std::byte* packed) {
  Weight weight = prepare_weight(view, isa);
  if (weight.kernel->packed_lanes > 0) weight.packed = packed;
  return weight;
}

// q8 rows are the widest layout that is stored: f32 kernels read their input in place.
ActivationBuffer::ActivationBuffer(int64_t max_tokens, int64_t max_k)
    : buffer_(static_cast<size_t>(max_tokens) *
              kernels::activation_row_bytes(kernels::ActivationLayout::q8_super, max_k)) {}

}  // namespace thimble::ops
