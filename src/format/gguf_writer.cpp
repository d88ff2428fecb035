// GGUF v3 encoding. What the reader would refuse is refused here before a byte is written.
#include "format/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "format/byte_reader.h"

namespace thimble {

namespace {

constexpr std::string_view kAlignmentKey = "general.alignment";

using Bytes = std::vector<std::byte>;

// Encoded in a string and copied once: GCC 12 reports impossible overflows in a std::vector<std::byte> that grows.
void append(std::string* out, std::span<const std::byte> bytes) {
  if (!bytes.empty()) out->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Bytes to_bytes(const std::string& text) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

template <typename T>
void append_number(std::string* out, T value) {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
  append(out, std::as_bytes(std::span(&value, 1)));
}

void append_string(std::string* out, std::string_view text) {
  append_number(out, static_cast<uint64_t>(text.size()));
  append(out, std::as_bytes(std::span(text)));
}

void append_array_head(std::string* out, GgufType element_type, uint64_t count) {
  append_number(out, static_cast<uint32_t>(element_type));
  append_number(out, count);
}

template <typename T>
std::string encode_number(T value) {
  std::string out;
  append_number(&out, value);
  return out;
}

template <typename T>
std::string encode_numbers(GgufType element_type, std::span<const T> values) {
  std::string out;
  append_array_head(&out, element_type, values.size());
  append(&out, std::as_bytes(values));
  return out;
}

template <typename Strings>
std::string encode_strings(const Strings& values) {
  std::string out;
  append_array_head(&out, GgufType::string, values.size());
  for (const auto& value : values) append_string(&out, value);
  return out;
}

std::string encode(const GgufScalar& value) {
  return std::visit(
      [](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        std::string out;
        if constexpr (std::is_same_v<T, bool>) {
          append_number(&out, static_cast<uint8_t>(v ? 1 : 0));
        } else if constexpr (std::is_same_v<T, std::string_view>) {
          append_string(&out, v);
        } else if constexpr (std::is_same_v<T, GgufArray>) {
          if (v.element_type == GgufType::string) return encode_strings(v.strings);
          append_array_head(&out, v.element_type, v.count);
          append(&out, v.bytes);
        } else {
          append_number(&out, v);
        }
        return out;
      },
      value);
}

void check_name(std::string_view what, std::string_view name, uint64_t max_bytes) {
  if (name.empty() || name.size() > max_bytes || !is_utf8(name) || name.find('\0') != std::string_view::npos) {
    fail(ErrorCode::invalid_argument, "{} '{}': found {} bytes, expected 1 to {} bytes of UTF-8 text", what,
         printable(name), name.size(), max_bytes);
  }
}

void check_plan(const GgufMetadata& metadata, std::span<const GgufTensorPlan> tensors) {
  if (metadata.entries().size() > kGgufMaxKeys || tensors.size() > kGgufMaxTensors) {
    fail(ErrorCode::invalid_argument, "GGUF: found {} keys and {} tensors, expected at most {} and {}",
         metadata.entries().size(), tensors.size(), kGgufMaxKeys, kGgufMaxTensors);
  }
  for (const GgufMetadata::Entry& entry : metadata.entries()) {
    check_name("metadata key", entry.key, kGgufMaxKeyBytes);
    if (entry.key != kAlignmentKey) continue;
    const Bytes expected = to_bytes(encode_number(static_cast<uint32_t>(kGgufDefaultAlignment)));
    if (entry.type != GgufType::u32 || entry.payload != expected) {
      fail(ErrorCode::invalid_argument, "key '{}': expected u32 {}, which is what is written", kAlignmentKey,
           kGgufDefaultAlignment);
    }
  }
  std::unordered_set<std::string_view> names;
  for (const GgufTensorPlan& tensor : tensors) {
    check_name("tensor name", tensor.name, kGgufMaxNameBytes);
    if (!names.insert(tensor.name).second) {
      fail(ErrorCode::invalid_argument, "tensor '{}': found twice in the plan", printable(tensor.name));
    }
  }
}

uint64_t padded_bytes(const GgufTensorPlan& tensor) {
  const auto padded = checked_align(gguf_tensor_bytes(tensor), kGgufDefaultAlignment);
  if (!padded) fail(ErrorCode::invalid_argument, "tensor '{}': its size does not fit 64 bits", printable(tensor.name));
  return *padded;
}

uint64_t checked_sum(uint64_t a, uint64_t b) {
  const auto sum = checked_add(a, b);
  if (!sum) fail(ErrorCode::invalid_argument, "GGUF: the size of all tensors does not fit 64 bits");
  return *sum;
}

}  // namespace

void GgufMetadata::put(std::string_view key, GgufType type, const std::string& encoded) {
  Bytes payload = to_bytes(encoded);
  for (Entry& entry : entries_) {
    if (entry.key != key) continue;
    entry.type = type;
    entry.payload = std::move(payload);
    return;
  }
  entries_.push_back({std::string(key), type, std::move(payload)});
}

void GgufMetadata::set_uint32(std::string_view key, uint32_t value) {
  put(key, GgufType::u32, encode_number(value));
}
void GgufMetadata::set_uint64(std::string_view key, uint64_t value) {
  put(key, GgufType::u64, encode_number(value));
}
void GgufMetadata::set_int32(std::string_view key, int32_t value) {
  put(key, GgufType::i32, encode_number(value));
}
void GgufMetadata::set_float32(std::string_view key, float value) {
  put(key, GgufType::f32, encode_number(value));
}

void GgufMetadata::set_bool(std::string_view key, bool value) {
  put(key, GgufType::boolean, encode_number(static_cast<uint8_t>(value ? 1 : 0)));
}

void GgufMetadata::set_string(std::string_view key, std::string_view value) {
  std::string payload;
  append_string(&payload, value);
  put(key, GgufType::string, payload);
}

void GgufMetadata::set_strings(std::string_view key, std::span<const std::string> values) {
  put(key, GgufType::array, encode_strings(values));
}

void GgufMetadata::set_floats(std::string_view key, std::span<const float> values) {
  put(key, GgufType::array, encode_numbers(GgufType::f32, values));
}

void GgufMetadata::set_int32s(std::string_view key, std::span<const int32_t> values) {
  put(key, GgufType::array, encode_numbers(GgufType::i32, values));
}

void GgufMetadata::set(const GgufKeyValue& value) {
  if (value.key == kAlignmentKey || value.key.starts_with("split.")) return;
  put(value.key, value.type(), encode(value.value));
}

void GgufMetadata::remove(std::string_view key) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; });
}

bool GgufMetadata::has(std::string_view key) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.key == key; });
}

uint64_t gguf_tensor_bytes(const GgufTensorPlan& tensor) {
  const auto refuse = [&](std::string_view expected) {
    fail(ErrorCode::invalid_argument, "tensor '{}': found {} dimensions [{}] of {}, expected {}",
         printable(tensor.name), tensor.n_dims, fmt::join(tensor.ne, ", "), traits(tensor.type).name, expected);
  };
  if (tensor.n_dims < 1 || tensor.n_dims > 4) refuse("1 to 4 dimensions");
  std::optional<uint64_t> n_elements = 1;
  for (uint32_t d = 0; d < 4; ++d) {
    const int64_t n = tensor.ne[d];
    if (n < 1 || (d >= tensor.n_dims && n != 1)) refuse("dimensions of at least 1, and 1 past the last");
    if (n_elements) n_elements = checked_mul(*n_elements, static_cast<uint64_t>(n));
  }
  if (!n_elements || *n_elements > static_cast<uint64_t>(INT64_MAX)) refuse("less than 2^63 elements");
  const auto n_cols = static_cast<uint64_t>(tensor.ne[0]);
  const auto row = row_bytes(tensor.type, n_cols);
  const auto bytes = row ? checked_mul(*row, *n_elements / n_cols) : std::nullopt;
  if (!bytes) refuse(fmt::format("rows that are a multiple of {}", traits(tensor.type).block_elems));
  return *bytes;
}

std::vector<std::byte> gguf_header(const GgufMetadata& metadata, std::span<const GgufTensorPlan> tensors) {
  check_plan(metadata, tensors);
  std::string out;
  append(&out, std::as_bytes(std::span(std::string_view("GGUF"))));
  append_number(&out, uint32_t{3});
  append_number(&out, static_cast<uint64_t>(tensors.size()));
  append_number(&out, static_cast<uint64_t>(metadata.entries().size()));
  for (const GgufMetadata::Entry& entry : metadata.entries()) {
    append_string(&out, entry.key);
    append_number(&out, static_cast<uint32_t>(entry.type));
    append(&out, entry.payload);
  }
  uint64_t offset = 0;
  for (const GgufTensorPlan& tensor : tensors) {
    append_string(&out, tensor.name);
    append_number(&out, tensor.n_dims);
    const uint64_t bytes = padded_bytes(tensor);  // checks n_dims too, before ne is read by it
    for (uint32_t d = 0; d < tensor.n_dims; ++d) append_number(&out, tensor.ne[d]);
    append_number(&out, static_cast<uint32_t>(tensor.type));
    append_number(&out, offset);
    offset = checked_sum(offset, bytes);
  }
  out.resize((out.size() + kGgufDefaultAlignment - 1) / kGgufDefaultAlignment * kGgufDefaultAlignment);
  return to_bytes(out);
}

uint64_t gguf_file_bytes(const GgufMetadata& metadata, std::span<const GgufTensorPlan> tensors) {
  uint64_t total = gguf_header(metadata, tensors).size();
  for (const GgufTensorPlan& tensor : tensors) total = checked_sum(total, padded_bytes(tensor));
  return total;
}

GgufWriter::GgufWriter(const std::string& path, const GgufMetadata& metadata, std::span<const GgufTensorPlan> tensors)
    : file_(path) {
  const Bytes header = gguf_header(metadata, tensors);
  tensor_bytes_.reserve(tensors.size());
  for (const GgufTensorPlan& tensor : tensors) tensor_bytes_.push_back(gguf_tensor_bytes(tensor));
  file_.write(header);
}

void GgufWriter::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (current_ >= tensor_bytes_.size() || bytes.size() > tensor_bytes_[current_] - current_written_) {
    fail(ErrorCode::internal, "GGUF writer: {} bytes more for tensor {} of {} than planned", bytes.size(), current_,
         tensor_bytes_.size());
  }
  file_.write(bytes);
  current_written_ += bytes.size();
  if (current_written_ == tensor_bytes_[current_]) finish_tensor();
}

void GgufWriter::finish_tensor() {
  constexpr std::array<std::byte, kGgufDefaultAlignment> kZeros{};
  const uint64_t rest = current_written_ % kGgufDefaultAlignment;
  if (rest != 0) file_.write(std::span(kZeros).first(kGgufDefaultAlignment - rest));
  ++current_;
  current_written_ = 0;
}

void GgufWriter::commit() {
  if (current_ != tensor_bytes_.size()) {
    fail(ErrorCode::internal, "GGUF writer: {} of {} tensors written before commit", current_, tensor_bytes_.size());
  }
  file_.commit();
}

}  // namespace thimble
