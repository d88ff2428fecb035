// Key/value storage and causal attention over it. A work item is up to kQueryTile query rows that read the same keys:
// heads of one group x neighbouring tokens. Keys that all rows see are scored together; ragged ends row by row. Every
// score, sum and output has one fixed order of operations, so neither tiling nor threads change a result.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernels/vector_kernel.h"
#include "ops/attention_tile.h"
#include "ops/ops.h"

namespace thimble::ops {

namespace {

constexpr int64_t kTile = static_cast<int64_t>(kQueryTile);

int64_t padded_to_16(int64_t n) noexcept {
  return (n + 15) / 16 * 16;
}

struct KeyRange {
  int64_t begin, end;
};

// Keys that the query at position `pos` sees.
KeyRange visible(const AttentionShape& shape, int64_t pos) noexcept {
  const int64_t begin = shape.window > 0 ? std::max<int64_t>(0, pos - shape.window + 1) : 0;
  return {begin, pos + 1};
}

// One work item and the thread's memory for it.
struct Tile {
  const Backend& backend;
  const AttentionShape& shape;
  const KvLayer& layer;
  int64_t kv_head;
  int64_t n_rows;
  int64_t token[kTile];  // of each query row
  int64_t head[kTile];
  float* scores;  // [kTile, scores_stride], key j of the tile at column j - first_key
  int64_t scores_stride;
  int64_t first_key;
  float* q;        // [kTile, head_dim] floats, or int8 in the same memory
  float* q_scale;  // [kTile]
  float* out;      // [kTile, head_dim]
};

KeyRange row_keys(const Tile& tile, int64_t row) noexcept {
  return visible(tile.shape, tile.shape.pos0 + tile.token[row]);
}

void score(const Tile& tile, int64_t row, int64_t n_rows, KeyRange keys) noexcept {
  if (keys.begin >= keys.end) return;
  const int64_t dim = tile.shape.head_dim;
  const int64_t stride = tile.shape.n_head_kv * dim;
  const int64_t offset = keys.begin * stride + tile.kv_head * dim;
  kernels::ScoresArgs args = {.q = tile.q + row * dim,
                              .q_scale = nullptr,
                              .k = static_cast<const uint16_t*>(tile.layer.k.data) + offset,
                              .k_stride = stride,
                              .k_scale = nullptr,
                              .k_scale_stride = 0,
                              .scores = tile.scores + row * tile.scores_stride + (keys.begin - tile.first_key),
                              .scores_stride = tile.scores_stride,
                              .n_q = n_rows,
                              .n_keys = keys.end - keys.begin,
                              .dim = dim,
                              .scale = 1.0f / std::sqrt(static_cast<float>(dim))};
  if (tile.layer.type == KvType::f16) {
    tile.backend.vector->scores_f16(args);
    return;
  }
  args.q = reinterpret_cast<const int8_t*>(tile.q) + row * dim;
  args.q_scale = tile.q_scale + row;
  args.k = static_cast<const int8_t*>(tile.layer.k.data) + offset;
  args.k_scale = tile.layer.k.scales + keys.begin * tile.shape.n_head_kv + tile.kv_head;
  args.k_scale_stride = tile.shape.n_head_kv;
  tile.backend.vector->scores_i8(args);
}

void mix(const Tile& tile, int64_t row, int64_t n_rows, KeyRange keys) noexcept {
  if (keys.begin >= keys.end) return;
  const int64_t dim = tile.shape.head_dim;
  const int64_t stride = tile.shape.n_head_kv * dim;
  const int64_t offset = keys.begin * stride + tile.kv_head * dim;
  kernels::MixArgs args = {.weights = tile.scores + row * tile.scores_stride + (keys.begin - tile.first_key),
                           .weights_stride = tile.scores_stride,
                           .v = static_cast<const uint16_t*>(tile.layer.v.data) + offset,
                           .v_stride = stride,
                           .v_scale = nullptr,
                           .v_scale_stride = 0,
                           .out = tile.out + row * dim,
                           .n_q = n_rows,
                           .n_keys = keys.end - keys.begin,
                           .dim = dim};
  if (tile.layer.type == KvType::f16) {
    tile.backend.vector->mix_f16(args);
    return;
  }
  args.v = static_cast<const int8_t*>(tile.layer.v.data) + offset;
  args.v_scale = tile.layer.v.scales + keys.begin * tile.shape.n_head_kv + tile.kv_head;
  args.v_scale_stride = tile.shape.n_head_kv;
  tile.backend.vector->mix_i8(args);
}

// Calls `apply(row, n_rows, keys)` so that each row meets its keys in ascending order: its own before the common range,
// the common range for all rows at once, its own after it.
template <typename Apply>
void over_keys(const Tile& tile, const Apply& apply) noexcept {
  KeyRange common = row_keys(tile, 0);
  for (int64_t r = 1; r < tile.n_rows; ++r) {
    const KeyRange keys = row_keys(tile, r);
    common = {std::max(common.begin, keys.begin), std::min(common.end, keys.end)};
  }
  if (common.begin >= common.end) {
    for (int64_t r = 0; r < tile.n_rows; ++r) apply(tile, r, 1, row_keys(tile, r));
    return;
  }
  for (int64_t r = 0; r < tile.n_rows; ++r) apply(tile, r, 1, {row_keys(tile, r).begin, common.begin});
  apply(tile, 0, tile.n_rows, common);
  for (int64_t r = 0; r < tile.n_rows; ++r) apply(tile, r, 1, {common.end, row_keys(tile, r).end});
}

void load_queries(const Tile& tile, const float* q) noexcept {
  const int64_t dim = tile.shape.head_dim;
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    const float* row = q + (tile.token[r] * tile.shape.n_head + tile.head[r]) * dim;
    if (tile.layer.type == KvType::f16) {
      std::copy(row, row + dim, tile.q + r * dim);
    } else {
      tile.q_scale[r] = tile.backend.vector->quantize_i8(row, reinterpret_cast<int8_t*>(tile.q) + r * dim, dim);
    }
  }
}

void run_tile(Tile& tile, const float* q, float* out) noexcept {
  const int64_t dim = tile.shape.head_dim;
  load_queries(tile, q);
  tile.first_key = row_keys(tile, 0).begin;
  for (int64_t r = 1; r < tile.n_rows; ++r) tile.first_key = std::min(tile.first_key, row_keys(tile, r).begin);
  over_keys(tile, score);
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    const KeyRange keys = row_keys(tile, r);
    tile.backend.vector->softmax(tile.scores + r * tile.scores_stride + (keys.begin - tile.first_key),
                                 keys.end - keys.begin);
  }
  std::fill(tile.out, tile.out + tile.n_rows * dim, 0.0f);
  over_keys(tile, mix);
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    std::copy(tile.out + r * dim, tile.out + (r + 1) * dim,
              out + (tile.token[r] * tile.shape.n_head + tile.head[r]) * dim);
  }
}

}  // namespace

void store_kv(const Backend& backend, const KvLayer& layer, const float* k, const float* v, int64_t n_tokens,
              int64_t n_head_kv, int64_t head_dim, int64_t pos0) noexcept {
  const int64_t row = n_head_kv * head_dim;
  backend.pool->parallel_for(n_tokens, 16, [&](int64_t begin, int64_t end) {
    for (const auto& [plane, x] : {std::pair(layer.k, k), std::pair(layer.v, v)}) {
      if (layer.type == KvType::f16) {
        backend.vector->f32_to_f16(x + begin * row, static_cast<uint16_t*>(plane.data) + (pos0 + begin) * row,
                                   (end - begin) * row);
        continue;
      }
      auto* data = static_cast<int8_t*>(plane.data) + pos0 * row;
      float* scales = plane.scales + pos0 * n_head_kv;
      for (int64_t h = begin * n_head_kv; h < end * n_head_kv; ++h) {
        scales[h] = backend.vector->quantize_i8(x + h * head_dim, data + h * head_dim, head_dim);
      }
    }
  });
}

void attention(const Backend& backend, const AttentionShape& shape, const float* q, const KvLayer& layer, float* out,
               AttentionScratch& scratch) noexcept {
  if (shape.n_tokens <= 0) return;
  const int64_t group = shape.n_head / shape.n_head_kv;
  const int64_t rows = group * shape.n_tokens;  // per key/value head; row r is token r / group, head r % group
  // Decoding with few key/value heads: smaller tiles, so that every thread has work.
  const int64_t share = shape.n_head_kv * rows / (2 * backend.pool->n_threads());
  const int64_t tile_rows = std::clamp<int64_t>(share, 1, kTile);
  const int64_t tiles_per_head = (rows + tile_rows - 1) / tile_rows;
  std::atomic<int64_t> next{0};
  backend.pool->run([&](int thread_index) {
    float* memory = scratch.thread_scratch(thread_index);
    const int64_t dim_stride = padded_to_16(shape.head_dim);
    Tile tile = {.backend = backend,
                 .shape = shape,
                 .layer = layer,
                 .kv_head = 0,
                 .n_rows = 0,
                 .token = {},
                 .head = {},
                 .scores = memory + kTile * (2 * dim_stride + 16),
                 .scores_stride = padded_to_16(shape.pos0 + shape.n_tokens),
                 .first_key = 0,
                 .q = memory,
                 .q_scale = memory + 2 * kTile * dim_stride,
                 .out = memory + kTile * dim_stride};
    for (;;) {
      // Late tiles see the most keys: they go first, so that the last ones to finish are short.
      const int64_t item = shape.n_head_kv * tiles_per_head - 1 - next.fetch_add(1, std::memory_order_relaxed);
      if (item < 0) return;
      tile.kv_head = item % shape.n_head_kv;
      const int64_t first = item / shape.n_head_kv * tile_rows;
      tile.n_rows = std::min(tile_rows, rows - first);
      for (int64_t r = 0; r < tile.n_rows; ++r) {
        tile.token[r] = (first + r) / group;
        tile.head[r] = tile.kv_head * group + (first + r) % group;
      }
      run_tile(tile, q, out);
    }
  });
}

}  // namespace thimble::ops
