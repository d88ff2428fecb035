// The GGUF parser. Order of the file: header, metadata, tensor descriptions, padding, tensor data. Counts and lengths
// are compared with the bytes that remain before anything is allocated for them.
#include "format/gguf.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "format/byte_reader.h"

namespace thimble {

namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"

// Bytes of an element in an array, by GgufType; 0 for types without a fixed size.
constexpr std::array<uint64_t, 13> kElementBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// Smallest description of a key (length, one character, type, one byte) and of a tensor (length, one character, n_dims,
// one dimension, type, offset; then the data of all but the last fill at least one unit of the smallest alignment).
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8 + kGgufMinAlignment;

// Names of ggml types that Thimble does not read, for a helpful message.
std::string_view foreign_type_name(uint32_t id) noexcept {
  switch (id) {
    case 4:
    case 5:
      return " (withdrawn from ggml)";
    case 9:
      return " (q8_1)";
    case 15:
      return " (q8_k)";
    case 16:
      return " (iq2_xxs)";
    case 17:
      return " (iq2_xs)";
    case 18:
      return " (iq3_xxs)";
    case 19:
      return " (iq1_s)";
    case 21:
      return " (iq3_s)";
    case 22:
      return " (iq2_s)";
    case 29:
      return " (iq1_m)";
    case 34:
      return " (tq1_0)";
    case 35:
      return " (tq2_0)";
    case 39:
      return " (mxfp4)";
    default:
      return "";
  }
}

}  // namespace

std::string_view gguf_type_name(GgufType type) noexcept {
  constexpr std::array<std::string_view, 13> kNames = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                       "bool", "string", "array", "u64", "i64", "f64"};
  const auto index = static_cast<size_t>(type);
  return index < kNames.size() ? kNames[index] : "unknown";
}

// Builds one GgufFile from one image.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, std::string source) : reader_(bytes, file_.source_) {
    file_.source_ = std::move(source);
    file_.file_bytes_ = bytes.size();
  }

  GgufFile run() {
    read_version();
    const auto n_tensors = reader_.number<uint64_t>("tensor count");
    const auto n_keys = reader_.number<uint64_t>("metadata count");
    check_count("metadata keys", n_keys, kMinKeyBytes, kGgufMaxKeys);
    check_count("tensors", n_tensors, kMinTensorBytes, kGgufMaxTensors);
    read_metadata(n_keys);
    file_.alignment_ = static_cast<uint32_t>(
        file_.get_uint("general.alignment", kGgufMinAlignment, kGgufMaxAlignment, kGgufDefaultAlignment));
    if ((file_.alignment_ & (file_.alignment_ - 1)) != 0) {
      fail(ErrorCode::corrupt, "{}: key 'general.alignment': found {}, expected a power of two", source(),
           file_.alignment_);
    }
    read_tensors(n_tensors);
    return std::move(file_);
  }

 private:
  const std::string& source() const noexcept { return file_.source_; }

  void read_version() {
    if (reader_.remaining() < 4 || reader_.number<uint32_t>("magic") != kMagic) {
      fail(ErrorCode::corrupt, "{}: found no 'GGUF' at the start of {} bytes, expected a GGUF file", source(),
           reader_.bytes().size());
    }
    file_.version_ = reader_.number<uint32_t>("version");
    // A big-endian file has its small version number in the upper bytes.
    if ((file_.version_ & 0xFFFFu) == 0 && file_.version_ != 0) {
      fail(ErrorCode::unsupported, "{}: found a big-endian GGUF file, expected a little-endian one", source());
    }
    if (file_.version_ != 2 && file_.version_ != 3) {
      fail(ErrorCode::unsupported, "{}: found GGUF version {}, expected 2 or 3", source(), file_.version_);
    }
  }

  // A count that the rest of the file cannot hold must not reach an allocation.
  void check_count(std::string_view what, uint64_t count, uint64_t min_bytes_each, uint64_t limit) const {
    const auto needed = checked_mul(count, min_bytes_each);
    // The last tensor's data may be shorter than a unit of alignment.
    if (!needed || *needed > reader_.remaining() + kGgufMinAlignment) {
      fail(ErrorCode::corrupt, "{}: found {} {} declared, expected at most {} in the {} bytes that follow", source(),
           count, what, reader_.remaining() / min_bytes_each, reader_.remaining());
    }
    if (count > limit) {
      fail(ErrorCode::unsupported, "{}: found {} {}, expected at most {}", source(), count, what, limit);
    }
  }

  // A key or tensor name: it becomes part of messages and lookups.
  std::string_view read_name(std::string_view what, uint64_t max_bytes) {
    const std::string_view name = reader_.string(what);
    if (name.empty() || name.size() > max_bytes) {
      fail(ErrorCode::corrupt, "{}: {} '{}': found {} bytes, expected 1 to {}", source(), what, printable(name),
           name.size(), max_bytes);
    }
    if (!is_utf8(name) || name.find('\0') != std::string_view::npos) {
      fail(ErrorCode::corrupt, "{}: {} '{}': found bytes that are not UTF-8 text", source(), what, printable(name));
    }
    return name;
  }

  void read_metadata(uint64_t n_keys) {
    file_.metadata_.reserve(n_keys);
    file_.metadata_index_.reserve(n_keys);
    for (uint64_t i = 0; i < n_keys; ++i) {
      const std::string_view key = read_name("metadata key", kGgufMaxKeyBytes);
      const auto type = reader_.number<uint32_t>(key);
      file_.metadata_.push_back({key, read_value(key, type)});
      if (!file_.metadata_index_.emplace(key, i).second) {
        fail(ErrorCode::corrupt, "{}: key '{}': found twice", source(), printable(key));
      }
    }
  }

  template <GgufType kType>
  GgufScalar read_number(std::string_view key) {
    constexpr size_t kIndex = static_cast<size_t>(kType);
    return GgufScalar(std::in_place_index<kIndex>, reader_.number<std::variant_alternative_t<kIndex, GgufScalar>>(key));
  }

  GgufScalar read_value(std::string_view key, uint32_t type) {
    switch (static_cast<GgufType>(type)) {
      case GgufType::u8:
        return read_number<GgufType::u8>(key);
      case GgufType::i8:
        return read_number<GgufType::i8>(key);
      case GgufType::u16:
        return read_number<GgufType::u16>(key);
      case GgufType::i16:
        return read_number<GgufType::i16>(key);
      case GgufType::u32:
        return read_number<GgufType::u32>(key);
      case GgufType::i32:
        return read_number<GgufType::i32>(key);
      case GgufType::f32:
        return read_number<GgufType::f32>(key);
      case GgufType::boolean: {
        const std::span<const std::byte> value = reader_.take(1, key);
        check_booleans(key, value);
        return GgufScalar(std::in_place_type<bool>, value[0] == std::byte{1});
      }
      case GgufType::string:
        return GgufScalar(std::in_place_type<std::string_view>, reader_.string(key));
      case GgufType::array:
        return GgufScalar(std::in_place_type<GgufArray>, read_array(key));
      case GgufType::u64:
        return read_number<GgufType::u64>(key);
      case GgufType::i64:
        return read_number<GgufType::i64>(key);
      case GgufType::f64:
        return read_number<GgufType::f64>(key);
    }
    fail(ErrorCode::corrupt, "{}: key '{}': found value type {}, expected 0 to 12", source(), printable(key), type);
  }

  void check_booleans(std::string_view key, std::span<const std::byte> values) const {
    for (const std::byte value : values) {
      if (value > std::byte{1}) {
        fail(ErrorCode::corrupt, "{}: key '{}': found bool {}, expected 0 or 1", source(), printable(key),
             static_cast<int>(value));
      }
    }
  }

  GgufArray read_array(std::string_view key) {
    GgufArray array;
    const auto type = reader_.number<uint32_t>(key);
    array.element_type = static_cast<GgufType>(type);
    array.count = reader_.number<uint64_t>(key);
    if (type >= kElementBytes.size()) {
      fail(ErrorCode::corrupt, "{}: key '{}': found array element type {}, expected 0 to 12", source(), printable(key),
           type);
    }
    if (array.element_type == GgufType::array) {
      fail(ErrorCode::unsupported, "{}: key '{}': found an array of arrays, expected numbers or strings", source(),
           printable(key));
    }
    const bool is_strings = array.element_type == GgufType::string;
    const uint64_t min_bytes = is_strings ? sizeof(uint64_t) : kElementBytes[type];
    if (array.count > reader_.remaining() / min_bytes) {
      fail(ErrorCode::corrupt, "{}: key '{}': found an array of {} elements, expected at most {} in the {} bytes left",
           source(), printable(key), array.count, reader_.remaining() / min_bytes, reader_.remaining());
    }
    if (is_strings) {
      array.strings.reserve(array.count);
      for (uint64_t i = 0; i < array.count; ++i) array.strings.push_back(reader_.string(key));
      return array;
    }
    array.bytes = reader_.take(array.count * min_bytes, key);
    if (array.element_type == GgufType::boolean) check_booleans(key, array.bytes);
    return array;
  }

  void read_tensors(uint64_t n_tensors) {
    if (n_tensors == 0) return;
    file_.tensors_.reserve(n_tensors);
    file_.tensor_index_.reserve(n_tensors);
    std::vector<uint64_t> offsets;
    offsets.reserve(n_tensors);
    for (uint64_t i = 0; i < n_tensors; ++i) {
      GgufTensor tensor;
      tensor.name = read_name("tensor name", kGgufMaxNameBytes);
      read_shape(&tensor);
      offsets.push_back(reader_.number<uint64_t>(tensor.name));
      file_.tensors_.push_back(tensor);
      if (!file_.tensor_index_.emplace(tensor.name, i).second) {
        fail(ErrorCode::corrupt, "{}: tensor '{}': found twice", source(), printable(tensor.name));
      }
    }
    const auto data_start = checked_align(reader_.offset(), file_.alignment_);
    const uint64_t size = reader_.bytes().size();
    if (!data_start || *data_start > size) {
      fail(ErrorCode::corrupt, "{}: found the end of the file at byte {}, expected tensor data", source(), size);
    }
    const std::span<const std::byte> data = reader_.bytes().subspan(*data_start);
    for (uint64_t i = 0; i < n_tensors; ++i) place(&file_.tensors_[i], offsets[i], data);
    check_overlap();
  }

  void read_shape(GgufTensor* tensor) {
    tensor->n_dims = reader_.number<uint32_t>(tensor->name);
    if (tensor->n_dims < 1 || tensor->n_dims > 4) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found {} dimensions, expected 1 to 4", source(),
           printable(tensor->name), tensor->n_dims);
    }
    uint64_t n_elements = 1;
    for (uint32_t d = 0; d < tensor->n_dims; ++d) {
      const auto n = reader_.number<uint64_t>(tensor->name);
      const auto product = checked_mul(n_elements, n);
      if (n == 0 || !product || *product > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        fail(ErrorCode::corrupt,
             "{}: tensor '{}': found dimension {} = {}, expected at least 1 and a product below 2^63", source(),
             printable(tensor->name), d, n);
      }
      tensor->view.ne[d] = static_cast<int64_t>(n);
      n_elements = *product;
    }
    const auto type = reader_.number<uint32_t>(tensor->name);
    const TypeTraits* found = find_type(type);
    if (found == nullptr) {
      fail(ErrorCode::unsupported, "{}: tensor '{}': found type id {}{}, which Thimble does not read", source(),
           printable(tensor->name), type, foreign_type_name(type));
    }
    tensor->view.type = found->type;
  }

  void place(GgufTensor* tensor, uint64_t offset, std::span<const std::byte> data) const {
    TensorView& view = tensor->view;
    const auto row = row_bytes(view.type, static_cast<uint64_t>(view.ne[0]));
    const auto size = row ? checked_mul(*row, static_cast<uint64_t>(view.n_rows())) : std::nullopt;
    if (!size) {
      fail(ErrorCode::corrupt,
           "{}: tensor '{}': found rows of {} elements, expected a multiple of {} ({}) below 2^64 bytes", source(),
           printable(tensor->name), view.ne[0], traits(view.type).block_elems, traits(view.type).name);
    }
    if (offset % file_.alignment_ != 0) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found offset {}, expected a multiple of {}", source(),
           printable(tensor->name), offset, file_.alignment_);
    }
    const auto end = checked_add(offset, *size);
    if (!end || *end > data.size()) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found {} bytes at offset {}, expected at most {} bytes of tensor data",
           source(), printable(tensor->name), *size, offset, data.size());
    }
    view.data = data.subspan(offset, *size);
  }

  // Overlapping tensors would let a small file stand for an enormous model.
  void check_overlap() const {
    std::vector<const GgufTensor*> order;
    const auto before = [](const GgufTensor& a, const GgufTensor& b) {
      return a.view.data.data() < b.view.data.data();
    };
    order.reserve(file_.tensors_.size());
    for (const GgufTensor& tensor : file_.tensors_) order.push_back(&tensor);
    std::sort(order.begin(), order.end(), [&](const auto* a, const auto* b) { return before(*a, *b); });
    for (size_t i = 1; i < order.size(); ++i) {
      const std::span<const std::byte> data = order[i - 1]->view.data;
      if (data.data() + data.size() > order[i]->view.data.data()) {
        fail(ErrorCode::corrupt, "{}: tensor '{}': found data that overlaps tensor '{}'", source(),
             printable(order[i]->name), printable(order[i - 1]->name));
      }
    }
  }

  GgufFile file_;  // first: the reader refers to its source
  ByteReader reader_;
};

GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::string source) {
  return GgufParser(bytes, std::move(source)).run();
}

}  // namespace thimble
