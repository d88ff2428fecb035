// Which part of an evaluation one of several independent jobs does.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

/// item: every job takes its share of the items, for all models; candidate: its share of the models, with all items.
enum class ShardBy { item, candidate };
/// "item" or "candidate".
std::string_view shard_by_name(ShardBy by) noexcept;
/// Errors: invalid_argument.
ShardBy shard_by_from_name(std::string_view name);

/// Job `index` of `count`, counted from 0 as array jobs of Slurm and indexed jobs of Kubernetes do.
struct Shard {
  size_t index = 0;
  size_t count = 1;
  ShardBy by = ShardBy::item;

  /// `number` counts the items of all tasks, one after the other: neighbours go to different jobs, so that every job
  /// gets some of each task and of each cluster.
  bool has_item(size_t number) const noexcept { return by == ShardBy::candidate || number % count == index; }
  bool has_model(size_t number) const noexcept { return by == ShardBy::item || number % count == index; }
  /// Texts are not divided: each model's belongs to one job.
  bool has_text(size_t model) const noexcept { return model % count == index; }
  bool operator==(const Shard&) const = default;
};

/// "2/8". Errors: invalid_argument, naming what was expected.
Shard parse_shard(std::string_view text, ShardBy by);
/// "2/8"
std::string shard_name(const Shard& shard);
/// "shard-2-of-8"
std::string shard_folder(const Shard& shard);

}  // namespace thimble
