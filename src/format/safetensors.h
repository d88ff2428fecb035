// safetensors: typed views of memory-mapped weight files, without copying tensor data.
// Byte format: 8 bytes little-endian header length, a JSON object {name: {dtype, shape, data_offsets}}, then the data
// (https://huggingface.co/docs/safetensors, "Format"). The rules of the reference reader hold here: header of at most
// 100 MB, no duplicate names, and the tensors cover the data exactly, without holes or overlaps.
// parse() knows nothing of files; open() maps one file; open_model() follows a sharded index inside one folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"

namespace thimble {

enum class SafetensorsType : uint8_t { boolean, u8, i8, i16, u16, f16, bf16, i32, u32, f32, f64, i64, u64 };

/// The name in the file, "BF16".
std::string_view safetensors_type_name(SafetensorsType type) noexcept;

/// Bytes of one element.
size_t safetensors_type_bytes(SafetensorsType type) noexcept;

struct SafetensorsTensor {
  std::string name;
  SafetensorsType type = SafetensorsType::f32;
  std::vector<int64_t> shape;       // outermost dimension first; empty for a scalar
  std::span<const std::byte> data;  // little-endian elements, not necessarily aligned
};

/// "[2, 3]", as printed in messages.
std::string format_shape(std::span<const int64_t> shape);

class SafetensorsFile {
 public:
  /// Parses one image. `bytes` must outlive the object. `source` names it in errors. Errors: corrupt, unsupported
  /// (element type).
  static SafetensorsFile parse(std::span<const std::byte> bytes, std::string source);

  /// Maps and parses one file. Errors: as MappedFile and parse().
  static SafetensorsFile open(const std::string& path);

  /// Opens the weights of a Hugging Face folder: model.safetensors, or else every shard that
  /// model.safetensors.index.json names. Shards are plain file names and stay inside the folder (or in the blob store
  /// of the hub's cache layout, snapshots/REV -> ../../blobs). Errors: as open(); not_found when there are no weights;
  /// corrupt when index and shards disagree.
  static SafetensorsFile open_model(const std::string& folder);

  const std::string& source() const noexcept { return source_; }
  std::span<const SafetensorsTensor> tensors() const noexcept { return tensors_; }
  const SafetensorsTensor* find(std::string_view name) const noexcept;
  /// Paths of the mapped files; empty after parse(bytes).
  std::vector<std::string> paths() const;
  /// Says that tensor data in `bytes` will not be read again soon: its pages leave the process's memory until it is.
  void release(std::span<const std::byte> bytes) const noexcept;

 private:
  void add_parts_of(const std::string& folder, const std::string& index_path);
  void index_tensors();

  std::string source_;
  std::vector<SafetensorsTensor> tensors_;                   // in order of offset, shard by shard
  std::unordered_map<std::string_view, size_t> by_name_;     // views into tensors_
  std::vector<std::shared_ptr<const MappedFile>> mappings_;  // empty after parse(bytes)
};

/// Names of the shards in an index document in order of first use, and the shard of each tensor. `source` names it in
/// errors. Errors: corrupt, also for shard names that are not plain file names.
struct SafetensorsIndex {
  std::vector<std::string> shards;
  std::unordered_map<std::string, std::string> shard_of;

  static SafetensorsIndex parse(std::string_view text, const std::string& source);
};

}  // namespace thimble
