// Writes GGUF v3 atomically and in a stream: metadata first, then one tensor after the other, so that peak memory is
// one tensor. The target is old or new, never torn (base/file.h AtomicFile).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "format/gguf.h"
#include "tensor/tensor_type.h"

namespace thimble {

/// Metadata to be written; keys keep the order of first insertion, setting a key again replaces its value.
class GgufMetadata {
 public:
  void set_uint32(std::string_view key, uint32_t value);
  void set_uint64(std::string_view key, uint64_t value);
  void set_int32(std::string_view key, int32_t value);
  void set_float32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_strings(std::string_view key, std::span<const std::string> values);
  void set_floats(std::string_view key, std::span<const float> values);
  void set_int32s(std::string_view key, std::span<const int32_t> values);
  /// Copies a value of any type from a parsed file. Keys that describe the container it came from (general.alignment,
  /// split.*) are left out: they would be wrong in the new file.
  void set(const GgufKeyValue& value);
  void remove(std::string_view key);
  bool has(std::string_view key) const;

  struct Entry {
    std::string key;
    GgufType type;
    std::vector<std::byte> payload;  // encoded value without key and type
  };
  std::span<const Entry> entries() const noexcept { return entries_; }

 private:
  void put(std::string_view key, GgufType type, const std::string& encoded);
  std::vector<Entry> entries_;
};

/// Name, type and shape of a tensor to be written; its bytes follow through GgufWriter::write_tensor.
struct GgufTensorPlan {
  std::string name;
  TensorType type;
  uint32_t n_dims;
  std::array<int64_t, 4> ne;
};

class GgufWriter {
 public:
  /// Writes the header to a temporary beside `path`. Errors: io (also when `path` is a device or pipe),
  /// resource_exhausted, not_found; as gguf_header.
  GgufWriter(const std::string& path, const GgufMetadata& metadata, std::span<const GgufTensorPlan> tensors);

  /// Appends the bytes of the next tensor in plan order; may be called with successive pieces of it.
  /// Errors: internal when more bytes come than planned; io, resource_exhausted.
  void write(std::span<const std::byte> bytes);

  /// Renames the finished file into place. Errors: internal when tensor bytes are missing; io.
  void commit();

  uint64_t bytes_written() const noexcept { return file_.size(); }

 private:
  void finish_tensor();

  AtomicFile file_;
  std::vector<uint64_t> tensor_bytes_;
  size_t current_ = 0;            // tensor being written
  uint64_t current_written_ = 0;  // bytes of it so far
};

/// Bytes from the start of the file to the first tensor's data: header, metadata, tensor descriptions, padding. Tensor
/// data follows in plan order, each tensor padded with zeros to a multiple of kGgufDefaultAlignment.
/// Errors: invalid_argument for names the reader would refuse, names given twice, and shapes that do not fit their
/// type.
std::vector<std::byte> gguf_header(const GgufMetadata& metadata, std::span<const GgufTensorPlan> tensors);

/// Bytes of data of one planned tensor, without padding. Errors: as gguf_header.
uint64_t gguf_tensor_bytes(const GgufTensorPlan& tensor);

/// Size in bytes of the file GgufWriter would write for this plan. Errors: as gguf_header.
uint64_t gguf_file_bytes(const GgufMetadata& metadata, std::span<const GgufTensorPlan> tensors);

}  // namespace thimble
