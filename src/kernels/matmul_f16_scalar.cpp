// Reference matmul of F16 weights: scalar, one float sum per output in order of k.
#include <cstring>

#include "base/float16.h"
#include "kernels/matmul_functions.h"

namespace thimble::kernels {

void matmul_f16_scalar(const MatmulArgs& a) noexcept {
  for (int64_t r = 0; r < a.n_rows; ++r) {
    const std::byte* row = a.weights + static_cast<size_t>(r) * a.weight_stride;
    for (int64_t c = 0; c < a.n_cols; ++c) {
      const auto* x = reinterpret_cast<const float*>(a.x + static_cast<size_t>(c) * a.x_stride);
      float sum = 0.0f;
      for (int64_t i = 0; i < a.k; ++i) {
        uint16_t w = 0;
        std::memcpy(&w, row + static_cast<size_t>(i) * sizeof w, sizeof w);
        sum += f16_to_f32(w) * x[i];
      }
      a.out[static_cast<size_t>(c) * a.out_stride + static_cast<size_t>(r)] = sum;
    }
  }
}

}  // namespace thimble::kernels
