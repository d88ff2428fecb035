#include "eval/shard.h"

#include <charconv>
#include <optional>

#include "base/error.h"

namespace thimble {

namespace {

constexpr size_t kMaxShards = 100'000;

std::optional<size_t> parse_number(std::string_view text) noexcept {
  size_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

}  // namespace

std::string_view shard_by_name(ShardBy by) noexcept {
  return by == ShardBy::item ? "item" : "candidate";
}

ShardBy shard_by_from_name(std::string_view name) {
  if (name == "item") return ShardBy::item;
  if (name == "candidate") return ShardBy::candidate;
  fail(ErrorCode::invalid_argument, "shard by: found '{}', expected item or candidate", name);
}

Shard parse_shard(std::string_view text, ShardBy by) {
  const size_t slash = text.find('/');
  const auto index = slash == std::string_view::npos ? std::nullopt : parse_number(text.substr(0, slash));
  const auto count = slash == std::string_view::npos ? std::nullopt : parse_number(text.substr(slash + 1));
  if (!index || !count || *count == 0 || *count > kMaxShards) {
    fail(ErrorCode::invalid_argument, "shard: found '{}', expected i/N such as 0/4, with N from 1 to {}", text,
         kMaxShards);
  }
  if (*index >= *count) {
    fail(ErrorCode::invalid_argument, "shard: found '{}', expected 0/{} to {}/{}: shards are counted from 0", text,
         *count, *count - 1, *count);
  }
  return {*index, *count, by};
}

std::string shard_name(const Shard& shard) {
  return fmt::format("{}/{}", shard.index, shard.count);
}

std::string shard_folder(const Shard& shard) {
  return fmt::format("shard-{}-of-{}", shard.index, shard.count);
}

}  // namespace thimble
