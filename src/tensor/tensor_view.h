// A typed, shaped, non-owning view of tensor bytes. Dimensions are in ggml's order: ne[0] is the contiguous one, so a
// weight matrix W [n_out rows, n_in columns] has ne = {n_in, n_out, 1, 1}.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/tensor_type.h"

namespace thimble {

struct TensorView {
  TensorType type = TensorType::f32;
  std::array<int64_t, 4> ne = {1, 1, 1, 1};
  std::span<const std::byte> data;  // exactly n_rows() * row_bytes

  int64_t n_cols() const noexcept { return ne[0]; }
  int64_t n_rows() const noexcept { return ne[1] * ne[2] * ne[3]; }
  int64_t n_elements() const noexcept { return n_cols() * n_rows(); }
  size_t row_bytes() const noexcept { return n_rows() == 0 ? 0 : data.size() / static_cast<size_t>(n_rows()); }
  const std::byte* row(int64_t r) const noexcept { return data.data() + static_cast<size_t>(r) * row_bytes(); }
};

}  // namespace thimble
