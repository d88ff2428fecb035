// GGUF v2 and v3: typed views of a memory-mapped file (or of bytes), without copying tensor data.
// Byte format: ggml/docs/gguf.md of llama.cpp; docs/FORMAT.md restates it with Thimble's own keys.
// A file is hostile until parsed: every size goes through base/checked.h, every error names the file and the key.
// parse() knows nothing of files; open() maps files and follows split sets (NAME-00001-of-0000N.gguf).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/file.h"
#include "tensor/tensor_view.h"

namespace thimble {

// These values are embedded in files: never change them.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// Limits of the reader and the writer; docs/FORMAT.md states them. Real models stay two orders of magnitude below.
constexpr uint64_t kGgufMaxKeys = 8192;       // bounds memory per byte of file, and colliding keys in the hash index
constexpr uint64_t kGgufMaxTensors = 16384;   // the same
constexpr uint64_t kGgufMaxKeyBytes = 65535;  // gguf.md
constexpr uint64_t kGgufMaxNameBytes = 255;   // stock llama.cpp stops at 63
constexpr uint64_t kGgufMinAlignment = 8;     // the widest element read in place is 8 bytes
constexpr uint64_t kGgufMaxAlignment = 1 << 20;
constexpr uint64_t kGgufDefaultAlignment = 32;  // gguf.md

/// "u32", "string", … as printed in messages.
std::string_view gguf_type_name(GgufType type) noexcept;

/// An array value: elements of one scalar type, or strings. Nested arrays are refused by the parser.
struct GgufArray {
  GgufType element_type = GgufType::u8;
  uint64_t count = 0;
  std::span<const std::byte> bytes;       // raw little-endian elements; empty for strings
  std::vector<std::string_view> strings;  // views into the file; empty for scalars
};

using GgufScalar = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string_view,
                                GgufArray, uint64_t, int64_t, double>;  // index == GgufType

struct GgufKeyValue {
  std::string_view key;
  GgufScalar value;
  GgufType type() const noexcept { return static_cast<GgufType>(value.index()); }
};

struct GgufTensor {
  std::string_view name;
  uint32_t n_dims = 1;
  TensorView view;  // ne, type and data inside the mapping
};

class GgufParser;

class GgufFile {
 public:
  /// Parses one GGUF image. `bytes` must outlive the object and start at a multiple of 8. `source` names it in errors.
  /// A split part parses like any file. Allocates at most 4 times the size of `bytes` and 1 MB. Errors: corrupt,
  /// unsupported (version, tensor type, big-endian).
  static GgufFile parse(std::span<const std::byte> bytes, std::string source);

  /// Maps `path` and, when it is the first part of a split set, all its parts. Errors: as MappedFile and parse();
  /// corrupt when parts are missing or do not belong together; invalid_argument for a part that is not the first.
  static GgufFile open(const std::string& path);

  const std::string& source() const noexcept { return source_; }
  uint32_t version() const noexcept { return version_; }
  uint32_t alignment() const noexcept { return alignment_; }
  std::span<const GgufKeyValue> metadata() const noexcept { return metadata_; }
  std::span<const GgufTensor> tensors() const noexcept { return tensors_; }
  uint64_t file_bytes() const noexcept { return file_bytes_; }  // all parts
  /// Paths of the mapped files, all parts; empty after parse(bytes).
  std::vector<std::string> paths() const;
  /// Says that tensor data in `bytes` will not be read again soon: its pages leave the process's memory until it is.
  void release(std::span<const std::byte> bytes) const noexcept;

  const GgufKeyValue* find(std::string_view key) const noexcept;
  const GgufTensor* find_tensor(std::string_view name) const noexcept;
  /// Errors: corrupt, naming the tensor, when it is missing.
  const GgufTensor& tensor(std::string_view name) const;

  // Typed getters. Any integer width is accepted where the value fits the asked range; a wrong type or range is
  // `corrupt`, naming file, key, found and expected. The first form requires the key, the second has a fallback.
  uint64_t get_uint(std::string_view key, uint64_t min, uint64_t max) const;
  uint64_t get_uint(std::string_view key, uint64_t min, uint64_t max, uint64_t fallback) const;
  double get_float(std::string_view key) const;  // finite
  double get_float(std::string_view key, double fallback) const;
  bool get_bool(std::string_view key, bool fallback) const;
  std::string_view get_string(std::string_view key) const;
  std::string_view get_string(std::string_view key, std::string_view fallback) const;
  /// Array of strings; null when the key is missing.
  const std::vector<std::string_view>* get_strings(std::string_view key) const;
  /// Array of numbers as floats or 64-bit integers; nothing when the key is missing.
  std::optional<std::vector<float>> get_floats(std::string_view key) const;
  std::optional<std::vector<int64_t>> get_ints(std::string_view key) const;

 private:
  friend class GgufParser;
  void append_part(GgufFile&& part);
  [[noreturn]] void fail_value(const GgufKeyValue& found, std::string_view expected) const;
  const GgufKeyValue& require(std::string_view key) const;

  std::string source_;
  uint32_t version_ = 0;
  uint32_t alignment_ = static_cast<uint32_t>(kGgufDefaultAlignment);
  uint64_t file_bytes_ = 0;
  std::vector<GgufKeyValue> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> metadata_index_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
  std::vector<std::shared_ptr<const MappedFile>> mappings_;  // empty after parse(bytes)
};

}  // namespace thimble
