// Key/value storage and causal attention over it. A work item is a tile of query rows (heads of one group x
// neighbouring tokens) that read the same keys, and, when a single token is decoded, one span of the context: rows
// finish a span of kKeySpan keys with their own maximum and sum (Dao et al., FlashAttention, arXiv 2205.14135), and
// spans are merged in ascending order whoever computed them.
#include "ops/attention_tile.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "base/checked.h"
#include "kernels/vector_kernel.h"
#include "ops/kv_layout.h"
#include "ops/ops.h"

namespace thimble::ops {

namespace {

using kernels::kKeyBlock;
using kernels::kStripRows;

static_assert(kKvPadding == kernels::kKeyLanes && kKeySpan % kKeyBlock == 0 && kQueryTile % kStripRows == 0);

constexpr int64_t kPartialHeader = 16;  // max and sum, one cache line

// Queries, sums of a span and of all spans; scores and rounded weights of a strip.
constexpr int64_t thread_floats(int64_t dim) noexcept {
  return 3 * kQueryTile * dim + kStripRows * kKeyBlock + kStripRows * kKeyBlock / 2;
}

struct KeyRange {
  int64_t begin, end;
};

// Keys that the query at position `pos` sees.
KeyRange visible(const AttentionShape& shape, int64_t pos) noexcept {
  const int64_t begin = shape.window > 0 ? std::max<int64_t>(0, pos - shape.window + 1) : 0;
  return {begin, pos + 1};
}

// A row's softmax so far: the largest score (base-2 logarithm) and the sum of the exponentials beneath it.
struct RowState {
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0.0f;
  bool empty() const noexcept { return sum == 0.0f && max == -std::numeric_limits<float>::infinity(); }
};

// One work item and the thread's memory for it.
struct Tile {
  const Backend& backend;
  const AttentionShape& shape;
  const KvLayer& layer;
  int64_t dim;  // padded
  int64_t kv_head = 0;
  int64_t rows_index = 0;  // of its rows, in Plan
  int64_t n_rows = 0;
  int64_t token[kQueryTile] = {};  // of each query row
  int64_t head[kQueryTile] = {};
  float q_scale[kQueryTile] = {};
  RowState span[kQueryTile], total[kQueryTile];
  float* q;          // [kQueryTile, dim] floats, or int8 in the same memory
  float* span_sums;  // [kQueryTile, dim]
  float* sums;       // [kQueryTile, dim]
  float* scores;     // [kStripRows, kKeyBlock]
  void* weights;     // [kStripRows, kKeyBlock] 16-bit words

  Tile(const Backend& b, const AttentionShape& s, const KvLayer& l, float* memory) noexcept
      : backend(b),
        shape(s),
        layer(l),
        dim(kv_padded(s.head_dim)),
        q(memory),
        span_sums(q + kQueryTile * dim),
        sums(span_sums + kQueryTile * dim),
        scores(sums + kQueryTile * dim),
        weights(scores + kStripRows * kKeyBlock) {}

  KeyRange keys(int64_t row) const noexcept { return visible(shape, shape.pos0 + token[row]); }
  KeyRange keys() const noexcept {
    KeyRange all = keys(0);
    for (int64_t r = 1; r < n_rows; ++r) all = {std::min(all.begin, keys(r).begin), std::max(all.end, keys(r).end)};
    return all;
  }
  // Element `index` of the tile's head in a plane.
  const std::byte* at(const KvPlane& plane, int64_t index) const noexcept {
    const int64_t size = layer.type == KvType::f16 ? 2 : 1;
    return static_cast<const std::byte*>(plane.data) + (kv_head * layer.n_ctx * dim + index) * size;
  }
  const float* scales(const KvPlane& plane, int64_t pos) const noexcept {
    return plane.scales + kv_head * layer.n_ctx + pos;
  }
};

// One stage of a Hadamard transform of 2 * half numbers. Neighbours are added up and what comes out is not left in
// place but moved, so that all stages are this loop, whose loads and stores are neighbours too (Pease's constant
// geometry).
void add_neighbours(const float* __restrict from, int64_t half, float* __restrict to) noexcept {
  for (int64_t i = 0; i < half; ++i) {
    const float a = from[2 * i], b = from[2 * i + 1];
    to[i] = a + b;
    to[i + half] = a - b;
  }
}

// x times an orthonormal matrix: Hadamard's, over blocks of the largest power of two that divides n (Sylvester's
// construction). Queries and keys rotated alike have the same dot products, but no channel of a key stands out, which
// int8 with one scale per head would pay for with the precision of all others (QuaRot, arXiv 2404.00456; llama.cpp
// rotates quantized caches too).
void rotate(float* x, int64_t n) noexcept {
  const int64_t block = n & -n;
  const float scale = 1.0f / std::sqrt(static_cast<float>(block));
  alignas(64) float other[kKvMaxHeadDim];
  for (float* values = x; values < x + n; values += block) {
    float* from = values;
    float* to = other;
    for (int64_t done = 1; done < block; done *= 2) {
      add_neighbours(from, block / 2, to);
      std::swap(from, to);
    }
    for (int64_t i = 0; i < block; ++i) values[i] = from[i] * scale;
  }
}

// Queries with the factors of the scores in them: 1 / sqrt(head_dim), and log2(e) because exponentials are powers of 2.
void load_queries(Tile& tile, const float* q) noexcept {
  const int64_t head_dim = tile.shape.head_dim;
  const float factor = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(head_dim));
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    const float* from = q + (tile.token[r] * tile.shape.n_head + tile.head[r]) * head_dim;
    if (tile.layer.type == KvType::f16) {
      float* row = tile.q + r * tile.dim;
      for (int64_t d = 0; d < head_dim; ++d) row[d] = from[d] * factor;
      std::fill(row + head_dim, row + tile.dim, 0.0f);
    } else {
      int8_t* row = reinterpret_cast<int8_t*>(tile.q) + r * tile.dim;
      std::copy(from, from + head_dim, tile.span_sums);  // free until the first block
      rotate(tile.span_sums, head_dim);
      tile.q_scale[r] = tile.backend.vector->quantize_i8(tile.span_sums, row, head_dim) * factor;
      std::fill(row + head_dim, row + tile.dim, int8_t{0});
    }
  }
}

// Rows [first, first + n_rows) against keys of one block, [begin, end) of which some row sees.
struct Strip {
  int64_t first, n_rows;
  int64_t begin, end;
  int64_t tiles_begin, n_tiles;  // begin rounded down to a tile of keys, and tiles up to end
  const std::byte* ahead;        // the keys that are read next, or null
  bool ask;                      // the first strip of a block: the others find its keys and values in the cache
};

void score(const Tile& tile, const Strip& strip) noexcept {
  const int64_t first_element = strip.tiles_begin * tile.dim;
  kernels::ScoresArgs args = {.q = tile.q + strip.first * tile.dim,
                              .q_scale = tile.q_scale + strip.first,
                              .k = tile.at(tile.layer.k, first_element),
                              .k_scale = nullptr,
                              .scores = tile.scores,
                              .n_q = strip.n_rows,
                              .n_tiles = strip.n_tiles,
                              .dim = tile.dim,
                              .ahead = strip.ask ? tile.at(tile.layer.v, first_element) : nullptr};
  if (tile.layer.type == KvType::f16) {
    tile.backend.vector->scores_f16(args);
    return;
  }
  args.q = reinterpret_cast<const int8_t*>(tile.q) + strip.first * tile.dim;
  args.k_scale = tile.scales(tile.layer.k, strip.tiles_begin);
  tile.backend.vector->scores_i8(args);
}

// Scores to weights; how much of each row's sums stays goes to `keep`, the scales of int8 weights to `weight_scale`.
void soften(Tile& tile, const Strip& strip, float* keep, float* weight_scale) noexcept {
  const int64_t n = strip.n_tiles * kKvPadding;
  const bool int8 = tile.layer.type == KvType::int8;
  for (int64_t i = 0; i < strip.n_rows; ++i) {
    const int64_t r = strip.first + i;
    float* scores = tile.scores + i * kKeyBlock;
    const KeyRange keys = tile.keys(r);
    kernels::SoftmaxRow row = {.scores = scores,
                               .v_scale = int8 ? tile.scales(tile.layer.v, strip.tiles_begin) : nullptr,
                               .begin = std::max(keys.begin, strip.begin) - strip.tiles_begin,
                               .end = std::min(keys.end, strip.end) - strip.tiles_begin,
                               .n = n,
                               .max = tile.span[r].max,
                               .sum = tile.span[r].sum,
                               .largest = 0.0f};
    keep[i] = 1.0f;
    if (row.begin < row.end) {
      keep[i] = tile.backend.vector->soften(row);
      tile.span[r] = {row.max, row.sum};
    } else {
      std::fill(scores, scores + n, 0.0f);
    }
    if (!int8) continue;
    weight_scale[i] = tile.backend.vector->round_weights(scores, row.largest, n,
                                                         static_cast<uint16_t*>(tile.weights) + i * kKeyBlock);
  }
}

void mix(const Tile& tile, const Strip& strip, const float* keep, const float* weight_scale) noexcept {
  kernels::MixArgs args = {.weights = tile.scores,
                           .weight_scale = weight_scale,
                           .keep = keep,
                           .v = tile.at(tile.layer.v, strip.tiles_begin * tile.dim),
                           .out = tile.span_sums + strip.first * tile.dim,
                           .n_q = strip.n_rows,
                           .n_keys = strip.end - strip.tiles_begin,
                           .dim = tile.dim,
                           .ahead = strip.ahead};
  if (tile.layer.type == KvType::f16) {
    tile.backend.vector->mix_f16(args);
    return;
  }
  args.weights = tile.weights;
  args.n_keys = (args.n_keys + 3) / 4 * 4;
  tile.backend.vector->mix_i8(args);
}

// All rows of the tile against keys [begin, end) of one span.
void run_span(Tile& tile, KeyRange range) noexcept {
  std::fill(tile.span, tile.span + tile.n_rows, RowState{});
  std::fill(tile.span_sums, tile.span_sums + tile.n_rows * tile.dim, 0.0f);
  const int64_t last = tile.keys().end;
  for (int64_t begin = range.begin; begin < range.end;) {
    const int64_t end = std::min(range.end, begin / kKeyBlock * kKeyBlock + kKeyBlock);
    for (int64_t first = 0; first < tile.n_rows; first += kStripRows) {
      Strip strip = {.first = first,
                     .n_rows = std::min(kStripRows, tile.n_rows - first),
                     .begin = end,
                     .end = begin,
                     .tiles_begin = 0,
                     .n_tiles = 0,
                     .ahead = first == 0 && end < last ? tile.at(tile.layer.k, end * tile.dim) : nullptr,
                     .ask = first == 0};
      for (int64_t r = first; r < first + strip.n_rows; ++r) {
        const KeyRange keys = tile.keys(r);
        strip.begin = std::min(strip.begin, std::max(begin, keys.begin));
        strip.end = std::max(strip.end, std::min(end, keys.end));
      }
      if (strip.begin >= strip.end) continue;
      strip.tiles_begin = strip.begin / kKvPadding * kKvPadding;
      strip.n_tiles = (strip.end - strip.tiles_begin + kKvPadding - 1) / kKvPadding;
      float keep[kStripRows], weight_scale[kStripRows];
      score(tile, strip);
      soften(tile, strip, keep, weight_scale);
      mix(tile, strip, keep, weight_scale);
    }
    begin = end;
  }
}

// total += part: one factor of the two is 1.
void merge(RowState& total, float* sums, const RowState& part, const float* part_sums, int64_t dim) noexcept {
  if (part.empty()) return;
  if (total.empty()) {
    total = part;
    std::copy(part_sums, part_sums + dim, sums);
    return;
  }
  const float max = std::max(total.max, part.max);
  const float keep = std::exp2(total.max - max);
  const float add = std::exp2(part.max - max);
  for (int64_t d = 0; d < dim; ++d) sums[d] = sums[d] * keep + part_sums[d] * add;
  total = {max, total.sum * keep + part.sum * add};
}

void write_row(const Tile& tile, int64_t row, float* out) noexcept {
  const int64_t head_dim = tile.shape.head_dim;
  const float inverse = 1.0f / tile.total[row].sum;
  float* to = out + (tile.token[row] * tile.shape.n_head + tile.head[row]) * head_dim;
  const float* sums = tile.sums + row * tile.dim;
  for (int64_t d = 0; d < head_dim; ++d) to[d] = sums[d] * inverse;
}

// How a call is cut into work items: item = (tile of rows, kv head) and, when `split`, one span of the keys.
struct Plan {
  int64_t rows;  // per kv head; row r is token r / group, head r % group
  int64_t tile_rows, tiles;
  int64_t first_span, n_spans;
  bool split;
  int64_t n_items;
  int64_t items_at_once;  // a thread takes neighbouring spans, so that what it asked for ahead is what it reads next

  Plan(const AttentionShape& shape, int64_t n_threads) noexcept {
    rows = shape.n_head / shape.n_head_kv * shape.n_tokens;
    // Fewer rows in a tile when there are not enough of them to give every thread several items.
    const int64_t share = shape.n_head_kv * rows / (4 * n_threads) / kStripRows * kStripRows;
    tile_rows = shape.n_tokens == 1 ? kQueryTile : std::clamp(share, kStripRows, kQueryTile);
    tiles = (rows + tile_rows - 1) / tile_rows;
    first_span = visible(shape, shape.pos0).begin / kKeySpan;
    n_spans = (shape.pos0 + shape.n_tokens - 1) / kKeySpan + 1 - first_span;
    split = shape.n_tokens == 1 && n_spans > 1 && n_threads > 1;
    n_items = shape.n_head_kv * tiles * (split ? n_spans : 1);
    items_at_once = split ? std::max<int64_t>(1, n_items / (4 * n_threads)) : 1;
  }
};

// Spans of the same rows follow each other: their queries are rotated and rounded once.
void take_rows(Tile& tile, const Plan& plan, int64_t kv_head, int64_t tile_index, const float* q) noexcept {
  if (tile.kv_head == kv_head && tile.rows_index == tile_index && tile.n_rows > 0) return;
  tile.rows_index = tile_index;
  const int64_t group = tile.shape.n_head / tile.shape.n_head_kv;
  const int64_t first = tile_index * plan.tile_rows;
  tile.kv_head = kv_head;
  tile.n_rows = std::min(plan.tile_rows, plan.rows - first);
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    tile.token[r] = (first + r) / group;
    tile.head[r] = kv_head * group + (first + r) % group;
  }
  load_queries(tile, q);
}

KeyRange span_keys(KeyRange keys, int64_t span) noexcept {
  return {std::max(keys.begin, span * kKeySpan), std::min(keys.end, (span + 1) * kKeySpan)};
}

// Rows over all their keys.
void run_whole(Tile& tile, float* out) noexcept {
  const KeyRange keys = tile.keys();
  std::fill(tile.total, tile.total + tile.n_rows, RowState{});
  for (int64_t span = keys.begin / kKeySpan; span * kKeySpan < keys.end; ++span) {
    run_span(tile, span_keys(keys, span));
    for (int64_t r = 0; r < tile.n_rows; ++r) {
      merge(tile.total[r], tile.sums + r * tile.dim, tile.span[r], tile.span_sums + r * tile.dim, tile.dim);
    }
  }
  for (int64_t r = 0; r < tile.n_rows; ++r) write_row(tile, r, out);
}

// Rows over one span; whoever finishes the last span of these rows merges all of them.
void run_part(Tile& tile, const Plan& plan, int64_t span, AttentionScratch& scratch, float* out) noexcept {
  run_span(tile, span_keys(tile.keys(), plan.first_span + span));
  const int64_t stride = kPartialHeader + tile.dim;
  const auto partial = [&](int64_t row, int64_t s) {
    return scratch.partials() + (tile.head[row] * plan.n_spans + s) * stride;
  };
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    float* to = partial(r, span);
    to[0] = tile.span[r].max;
    to[1] = tile.span[r].sum;
    std::copy(tile.span_sums + r * tile.dim, tile.span_sums + (r + 1) * tile.dim, to + kPartialHeader);
  }
  std::atomic<int32_t>& finished = scratch.finished()[tile.head[0]];
  if (finished.fetch_add(1, std::memory_order_acq_rel) + 1 < plan.n_spans) return;
  finished.store(0, std::memory_order_relaxed);
  for (int64_t r = 0; r < tile.n_rows; ++r) {
    tile.total[r] = {};
    for (int64_t s = 0; s < plan.n_spans; ++s) {
      const float* from = partial(r, s);
      merge(tile.total[r], tile.sums + r * tile.dim, {from[0], from[1]}, from + kPartialHeader, tile.dim);
    }
    write_row(tile, r, out);
  }
}

void run_item(Tile& tile, const Plan& plan, int64_t item, const float* q, AttentionScratch& scratch,
              float* out) noexcept {
  const int64_t n_head_kv = tile.shape.n_head_kv;
  if (plan.split) {
    take_rows(tile, plan, item / plan.n_spans % n_head_kv, item / plan.n_spans / n_head_kv, q);
    run_part(tile, plan, item % plan.n_spans, scratch, out);
    return;
  }
  // Late tiles see the most keys: they go first, so that the last ones to finish are short.
  const int64_t from_end = plan.n_items - 1 - item;
  take_rows(tile, plan, from_end % n_head_kv, from_end / n_head_kv, q);
  run_whole(tile, out);
}

// One head of k or v [n_tokens, n_head_kv, head_dim] to its places in the cache.
void store_head(const Backend& backend, const KvLayer& layer, const AttentionShape& shape, int64_t head, const float* k,
                const float* v) noexcept {
  const int64_t dim = kv_padded(shape.head_dim);
  const int64_t row = shape.n_head_kv * shape.head_dim;
  const int64_t start = head * layer.n_ctx;
  alignas(64) uint16_t halves[kKvMaxHeadDim];
  alignas(64) float rotated[kKvMaxHeadDim];
  auto* bytes = reinterpret_cast<int8_t*>(halves);
  for (int64_t t = 0; t < shape.n_tokens; ++t) {
    const int64_t pos = shape.pos0 + t;
    const int64_t from = t * row + head * shape.head_dim;
    if (layer.type == KvType::f16) {
      auto* keys = static_cast<uint16_t*>(layer.k.data) + start * dim;
      auto* values = static_cast<uint16_t*>(layer.v.data) + start * dim;
      backend.vector->f32_to_f16(k + from, halves, shape.head_dim);
      for (int64_t d = 0; d < shape.head_dim; ++d) keys[f16_key_index(pos, d, dim)] = halves[d];
      backend.vector->f32_to_f16(v + from, values + f16_value_index(pos, 0, dim), shape.head_dim);
    } else {
      auto* keys = static_cast<int8_t*>(layer.k.data) + start * dim;
      auto* values = static_cast<int8_t*>(layer.v.data) + start * dim;
      std::copy(k + from, k + from + shape.head_dim, rotated);
      rotate(rotated, shape.head_dim);
      layer.k.scales[start + pos] = backend.vector->quantize_i8(rotated, bytes, shape.head_dim);
      for (int64_t d = 0; d < shape.head_dim; ++d) keys[int8_key_index(pos, d, dim)] = bytes[d];
      layer.v.scales[start + pos] = backend.vector->quantize_i8(v + from, bytes, shape.head_dim);
      for (int64_t d = 0; d < shape.head_dim; ++d) values[int8_value_index(pos, d, dim)] = bytes[d];
    }
  }
}

// Asks for the cache lines that one position is scattered over, all at once: stores wait for each line in turn.
void ask_for_position(const KvLayer& layer, const AttentionShape& shape) noexcept {
  const int64_t dim = kv_padded(shape.head_dim);
  const int64_t size = layer.type == KvType::f16 ? 2 : 1;
  const auto ask = [&](const KvPlane& plane, int64_t head, int64_t first, int64_t n) {
    const auto* start = static_cast<const std::byte*>(plane.data) + (head * layer.n_ctx * dim + first) * size;
    for (int64_t at = 0; at < n * size; at += 64) __builtin_prefetch(start + at, 1, 3);
  };
  for (int64_t h = 0; h < shape.n_head_kv; ++h) {
    ask(layer.k, h, shape.pos0 / kKvPadding * kKvPadding * dim, kKvPadding * dim);
    if (layer.type == KvType::f16) ask(layer.v, h, shape.pos0 * dim, dim);
    if (layer.type == KvType::int8) ask(layer.v, h, shape.pos0 / 4 * 4 * dim, 4 * dim);
  }
}

}  // namespace

std::optional<uint64_t> attention_scratch_floats(int n_threads, int64_t n_ctx, int64_t n_head,
                                                 int64_t head_dim) noexcept {
  const int64_t dim = kv_padded(head_dim);
  const uint64_t spans = static_cast<uint64_t>(n_ctx) / kKeySpan + 1;
  const auto partials = checked_mul(spans, static_cast<uint64_t>(n_head * (kPartialHeader + dim)));
  const uint64_t threads = static_cast<uint64_t>(n_threads) * static_cast<uint64_t>(thread_floats(dim));
  return partials ? checked_add(*partials, threads) : std::nullopt;
}

AttentionScratch::AttentionScratch(int n_threads, int64_t n_ctx, int64_t n_head, int64_t head_dim)
    : per_thread_(static_cast<size_t>(thread_floats(kv_padded(head_dim)))),
      n_threads_(static_cast<size_t>(n_threads)),
      buffer_(attention_scratch_floats(n_threads, n_ctx, n_head, head_dim).value_or(SIZE_MAX)),
      finished_(std::make_unique<std::atomic<int32_t>[]>(static_cast<size_t>(n_head))) {}

float* AttentionScratch::thread_scratch(int thread_index) noexcept {
  return buffer_.data() + per_thread_ * static_cast<size_t>(thread_index);
}

float* AttentionScratch::partials() noexcept {
  return buffer_.data() + per_thread_ * n_threads_;
}

void store_kv(const Backend& backend, const KvLayer& layer, const float* k, const float* v, int64_t n_tokens,
              int64_t n_head_kv, int64_t head_dim, int64_t pos0) noexcept {
  const int64_t row = n_head_kv * head_dim;
  if (n_tokens == 1) ask_for_position(layer, {1, n_head_kv, n_head_kv, head_dim, pos0, 0});
  backend.pool->parallel_for(n_tokens, kKvPadding, [&](int64_t begin, int64_t end) {
    const AttentionShape part = {end - begin, n_head_kv, n_head_kv, head_dim, pos0 + begin, 0};
    for (int64_t h = 0; h < n_head_kv; ++h) store_head(backend, layer, part, h, k + begin * row, v + begin * row);
  });
}

void attention(const Backend& backend, const AttentionShape& shape, const float* q, const KvLayer& layer, float* out,
               AttentionScratch& scratch) noexcept {
  if (shape.n_tokens <= 0) return;
  const Plan plan(shape, backend.pool->n_threads());
  std::atomic<int64_t> next{0};
  backend.pool->run_some([&](int thread_index) {
    Tile tile(backend, shape, layer, scratch.thread_scratch(thread_index));
    for (;;) {
      const int64_t begin = next.fetch_add(plan.items_at_once, std::memory_order_relaxed);
      if (begin >= plan.n_items) return;
      for (int64_t item = begin; item < std::min(begin + plan.items_at_once, plan.n_items); ++item) {
        run_item(tile, plan, item, q, scratch, out);
      }
    }
  });
}

}  // namespace thimble::ops
