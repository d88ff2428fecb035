// Operations on rows: embedding lookup, normalization, elementwise arithmetic, rotary embedding.
#include <algorithm>
#include <cmath>

#include "kernels/vector_kernel.h"
#include "ops/ops.h"
#include "ops/outliers.h"

namespace thimble::ops {

namespace {

// Floats per work item of an elementwise operation: about as long as handing the item to a thread takes.
constexpr int64_t kElementGrain = 8192;

int64_t rows_per_item(int64_t row_length) noexcept {
  return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(row_length, 1));
}

}  // namespace

void get_rows(const Backend& backend, const TensorView& table, std::span<const int32_t> ids, float* out,
              const OutlierColumns& outliers) noexcept {
  const DecodeFn decode = traits(table.type).decode;
  const int64_t n = table.n_cols();
  backend.pool->split(static_cast<int64_t>(ids.size()), rows_per_item(n), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      decode(table.row(ids[static_cast<size_t>(t)]), out + t * n, n);
      add_outlier_row(outliers, ids[static_cast<size_t>(t)], out + t * n);
    }
  });
}

void rms_norm(const Backend& backend, const float* x, const float* weight, float* out, int64_t n_tokens, int64_t n,
              float eps) noexcept {
  backend.pool->split(n_tokens, rows_per_item(n), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = x + t * n;
      const float mean = backend.vector->sum_of_squares(row, n) / static_cast<float>(n);
      backend.vector->scale_by_weight(row, weight, 1.0f / std::sqrt(mean + eps), out + t * n, n);
    }
  });
}

void add(const Backend& backend, float* x, const float* y, int64_t n) noexcept {
  backend.pool->split(n, kElementGrain,
                      [&](int64_t begin, int64_t end) { backend.vector->add(x + begin, y + begin, end - begin); });
}

void silu_mul(const Backend& backend, float* gate, const float* up, int64_t n) noexcept {
  backend.pool->split(n, kElementGrain, [&](int64_t begin, int64_t end) {
    backend.vector->silu_mul(gate + begin, up + begin, end - begin);
  });
}

RopeTable::RopeTable(int64_t max_tokens, int64_t n_rot)
    : n_rot_(n_rot), values_(static_cast<size_t>(max_tokens) * static_cast<size_t>(n_rot)) {}

// Angles are computed in double: a float angle at position 30,000 is off by 2e-3 radians.
template <typename PositionOf>
void RopeTable::fill_rows(const Backend& backend, const RopeParams& params, int64_t n_tokens,
                          PositionOf position_of) noexcept {
  const double base_log = std::log(static_cast<double>(params.freq_base));
  float* const values = values_.data();
  // A pair costs about 40 ns.
  backend.pool->split(n_tokens, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < n_rot_ / 2; ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(n_rot_);
      double frequency = std::exp(exponent * base_log) * static_cast<double>(params.freq_scale);
      if (params.factors != nullptr) frequency /= static_cast<double>(params.factors[i]);
      for (int64_t t = begin; t < end; ++t) {
        const double angle = static_cast<double>(position_of(t)) * frequency;
        values[t * n_rot_ + 2 * i] = static_cast<float>(std::cos(angle));
        values[t * n_rot_ + 2 * i + 1] = static_cast<float>(std::sin(angle));
      }
    }
  });
}

void RopeTable::fill(const Backend& backend, const RopeParams& params, int64_t n_tokens, int64_t pos0) noexcept {
  fill_rows(backend, params, n_tokens, [pos0](int64_t t) { return pos0 + t; });
}

void RopeTable::fill(const Backend& backend, const RopeParams& params, std::span<const int64_t> positions) noexcept {
  const auto position_of = [positions](int64_t t) { return positions[static_cast<size_t>(t)]; };
  fill_rows(backend, params, static_cast<int64_t>(positions.size()), position_of);
}

namespace {

// `step` is the distance of the two dimensions of a pair, `next` that of neighbouring pairs.
void rotate_head(const float* rotations, int64_t n_pairs, int64_t step, int64_t next, float* head) noexcept {
  for (int64_t i = 0; i < n_pairs; ++i) {
    const float cosine = rotations[2 * i];
    const float sine = rotations[2 * i + 1];
    float& first = head[i * next];
    float& second = head[i * next + step];
    const float a = first;
    const float b = second;
    first = a * cosine - b * sine;
    second = a * sine + b * cosine;
  }
}

}  // namespace

void rope(const Backend& backend, const RopeParams& params, const RopeTable& table, float* x, int64_t n_tokens,
          int64_t n_heads, int64_t head_dim) noexcept {
  const int64_t n_pairs = params.n_rot / 2;
  backend.pool->split(n_tokens, rows_per_item(n_heads * head_dim), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < n_heads; ++h) {
        float* const head = x + (t * n_heads + h) * head_dim;
        if (params.style == RopeStyle::neox) {
          rotate_head(table.row(t), n_pairs, n_pairs, 1, head);
        } else {
          rotate_head(table.row(t), n_pairs, 1, 2, head);
        }
      }
    }
  });
}

}  // namespace thimble::ops
