#include "quantize/strip_products.h"

namespace thimble {

void multiply_rows(const ops::Backend& backend, const float* w, int64_t n_w, const float* x, int64_t n_x, int64_t k,
                   float* out) {
  const auto bytes = static_cast<size_t>(n_w * k) * sizeof(float);
  const TensorView view{TensorType::f32, {k, n_w, 1, 1}, {reinterpret_cast<const std::byte*>(w), bytes}};
  const ops::Weight weight = ops::prepare_weight(view, backend.isa);
  ops::ActivationBuffer unused(1, 1);
  const ops::MatmulOutput output{&weight, out, nullptr};
  ops::matmul(backend, {&output, 1}, x, n_x, unused);
}

const float* LeadingProduct::multiply(const ops::Backend& backend, const float* w, int64_t n_w, const float* x,
                                      int64_t n_x, int64_t k, int64_t n_doubled) {
  if (k == 0) {
    std::fill_n(out_.data(), n_x * n_w, 0.0f);
    return out_.data();
  }
  for (int64_t r = 0; r < n_w; ++r) std::copy_n(w + r * n_in_, k, w_.data() + r * k);
  backend.pool->parallel_for(n_x, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* const from = x + r * n_in_;
      float* const to = x_.data() + r * k;
      for (int64_t i = 0; i < n_doubled; ++i) to[i] = 2.0f * from[i];
      std::copy(from + n_doubled, from + k, to + n_doubled);
    }
  });
  multiply_rows(backend, w_.data(), n_w, x_.data(), n_x, k, out_.data());
  return out_.data();
}

}  // namespace thimble
