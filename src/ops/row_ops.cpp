// Operations on rows: embedding lookup, normalization, elementwise arithmetic, rotary embedding.
#include <algorithm>
#include <cmath>

#include "kernels/vector_kernel.h"
#include "ops/ops.h"

namespace thimble::ops {

namespace {

// Floats per work item of an elementwise operation: about as long as handing the item to a thread takes.
constexpr int64_t kElementGrain = 8192;

int64_t rows_per_item(int64_t row_length) noexcept {
  return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(row_length, 1));
}

}  // namespace

void get_rows(const Backend& backend, const TensorView& table, std::span<const int32_t> ids, float* out) noexcept {
  const DecodeFn decode = traits(table.type).decode;
  const int64_t n = table.n_cols();
  backend.pool->parallel_for(static_cast<int64_t>(ids.size()), rows_per_item(n), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) decode(table.row(ids[static_cast<size_t>(t)]), out + t * n, n);
  });
}

void rms_norm(const Backend& backend, const float* x, const float* weight, float* out, int64_t n_tokens, int64_t n,
              float eps) noexcept {
  backend.pool->parallel_for(n_tokens, rows_per_item(n), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = x + t * n;
      const float mean = backend.vector->sum_of_squares(row, n) / static_cast<float>(n);
      backend.vector->scale_by_weight(row, weight, 1.0f / std::sqrt(mean + eps), out + t * n, n);
    }
  });
}

void add(const Backend& backend, float* x, const float* y, int64_t n) noexcept {
  backend.pool->parallel_for(
      n, kElementGrain, [&](int64_t begin, int64_t end) { backend.vector->add(x + begin, y + begin, end - begin); });
}

void silu_mul(const Backend& backend, float* gate, const float* up, int64_t n) noexcept {
  backend.pool->parallel_for(n, kElementGrain, [&](int64_t begin, int64_t end) {
    backend.vector->silu_mul(gate + begin, up + begin, end - begin);
  });
}

namespace {

// Pairs whose frequencies are computed once and used for every token of a work item.
constexpr int64_t kPairBlock = 64;

struct Rotation {
  float cosine, sine;
};

void rotate_pair(const RopeParams& params, int64_t pair, Rotation r, float* token, int64_t n_heads,
                 int64_t head_dim) noexcept {
  const bool neox = params.style == RopeStyle::neox;
  const int64_t first = neox ? pair : 2 * pair;
  const int64_t second = neox ? pair + params.n_rot / 2 : 2 * pair + 1;
  for (int64_t h = 0; h < n_heads; ++h) {
    float* head = token + h * head_dim;
    const float a = head[first];
    const float b = head[second];
    head[first] = a * r.cosine - b * r.sine;
    head[second] = a * r.sine + b * r.cosine;
  }
}

}  // namespace

// Angles are computed in double: a float angle at position 30,000 is off by 2e-3 radians.
void rope(const Backend& backend, const RopeParams& params, float* x, int64_t n_tokens, int64_t n_heads,
          int64_t head_dim, int64_t pos0) noexcept {
  const int64_t n_pairs = params.n_rot / 2;
  const double base_log = std::log(static_cast<double>(params.freq_base));
  backend.pool->parallel_for(n_tokens, rows_per_item(n_heads * head_dim), [&](int64_t begin, int64_t end) {
    double frequencies[kPairBlock];
    for (int64_t block = 0; block < n_pairs; block += kPairBlock) {
      const int64_t n = std::min(kPairBlock, n_pairs - block);
      for (int64_t i = 0; i < n; ++i) {
        const double exponent = -2.0 * static_cast<double>(block + i) / static_cast<double>(params.n_rot);
        frequencies[i] = std::exp(exponent * base_log) * static_cast<double>(params.freq_scale);
        if (params.factors != nullptr) frequencies[i] /= static_cast<double>(params.factors[block + i]);
      }
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t i = 0; i < n; ++i) {
          const double angle = static_cast<double>(pos0 + t) * frequencies[i];
          const Rotation r = {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
          rotate_pair(params, block + i, r, x + t * n_heads * head_dim, n_heads, head_dim);
        }
      }
    }
  });
}

}  // namespace thimble::ops
