// One allocation for all layers: layer after layer, keys then values, each plane starting on a cache line.
#include <new>

#include "base/checked.h"
#include "base/error.h"
#include "base/huge_pages.h"
#include "model/memory_limit.h"
#include "model/model.h"
#include "ops/kv_layout.h"

namespace thimble {

namespace {

constexpr uint64_t kPlaneAlignment = 64;

// Bytes of one plane (keys or values of one layer), or nothing when they do not fit 64 bits.
std::optional<uint64_t> plane_bytes(const ModelConfig& config, ops::KvType type, uint64_t n_ctx) noexcept {
  const uint64_t element = type == ops::KvType::f16 ? 2 : 1;
  const auto row = static_cast<uint64_t>(config.n_head_kv * ops::kv_padded(config.head_dim));
  const auto bytes = checked_mul(n_ctx, row * element);
  return bytes ? checked_align(*bytes, kPlaneAlignment) : std::nullopt;
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, ops::KvType type, int64_t n_ctx) : type_(type), n_ctx_(n_ctx) {
  if (n_ctx < 1) fail(ErrorCode::invalid_argument, "context: found {} tokens, expected at least 1", n_ctx);
  const uint64_t n_planes = 2 * static_cast<uint64_t>(config.n_layer);
  // Positions in whole tiles; past 2^63 - 1 the products below do not fit either.
  const uint64_t positions = checked_align(static_cast<uint64_t>(n_ctx), ops::kKvPadding).value_or(UINT64_MAX);
  const auto plane = plane_bytes(config, type, positions);
  const auto data_bytes = plane ? checked_mul(*plane, n_planes) : std::nullopt;
  const uint64_t scale_heads = type == ops::KvType::int8 ? static_cast<uint64_t>(config.n_head_kv) : 0;
  const auto plane_scales = checked_mul(positions, scale_heads);
  const auto n_scales = plane_scales ? checked_mul(*plane_scales, n_planes) : std::nullopt;
  const auto scale_bytes = n_scales ? checked_mul(*n_scales, sizeof(float)) : std::nullopt;
  const auto total = data_bytes && scale_bytes ? checked_add(*data_bytes, *scale_bytes) : std::nullopt;
  const std::string what = fmt::format("key/value cache for a context of {} tokens", n_ctx);
  check_memory(total, what);
  try {
    data_ = AlignedBuffer<std::byte>(*data_bytes);
    ask_for_huge_pages(data_.data(), data_.size());  // a quarter of attention at a context of 4,096
    scales_ = AlignedBuffer<float>(*n_scales);
    layers_.reserve(static_cast<size_t>(config.n_layer));
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::resource_exhausted, "{}: could not get {} bytes of memory", what, *total);
  }
  for (uint64_t i = 0; i < n_planes; i += 2) {
    const auto at = [&](uint64_t p) -> ops::KvPlane {
      return {data_.data() + p * *plane, scale_heads == 0 ? nullptr : scales_.data() + p * *plane_scales};
    };
    layers_.push_back({type, static_cast<int64_t>(positions), at(i), at(i + 1)});
  }
}

uint64_t KvCache::bytes() const noexcept {
  return data_.size() + scales_.size() * sizeof(float);
}

}  // namespace thimble
