// Parser of one safetensors image. Everything read from the header is checked before it is used as a size or offset.
#include "format/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "format/mapped_pages.h"

namespace thimble {

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference reader's limit
constexpr size_t kMaxDims = 8;

struct TypeRow {
  std::string_view name;
  size_t bytes;
};

// Indexed by SafetensorsType.
constexpr std::array<TypeRow, 13> kTypes = {{{"BOOL", 1},
                                             {"U8", 1},
                                             {"I8", 1},
                                             {"I16", 2},
                                             {"U16", 2},
                                             {"F16", 2},
                                             {"BF16", 2},
                                             {"I32", 4},
                                             {"U32", 4},
                                             {"F32", 4},
                                             {"F64", 8},
                                             {"I64", 8},
                                             {"U64", 8}}};

// Stops at the first key that occurs twice in one object: the tree keeps only the last, so a file could show one
// tensor to us and another to a different reader.
class DuplicateKeyFinder : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    open_objects_.emplace_back();
    return true;
  }
  bool key(string_t& name) override {
    if (open_objects_.back().insert(name).second) return true;
    duplicate_ = name;
    found_ = true;
    return false;
  }
  bool end_object() override {
    open_objects_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

  bool found() const noexcept { return found_; }
  const std::string& duplicate() const noexcept { return duplicate_; }

 private:
  std::vector<std::unordered_set<std::string>> open_objects_;
  std::string duplicate_;
  bool found_ = false;
};

Json parse_header(std::string_view text, const std::string& source) {
  if (text.empty() || text.front() != '{') {
    fail(ErrorCode::corrupt, "{}: the header does not start with '{{', expected a JSON object", source);
  }
  Json header = parse_json(text, source);
  DuplicateKeyFinder finder;
  Json::sax_parse(text, &finder);
  if (finder.found()) fail(ErrorCode::corrupt, "{}: key '{}' occurs twice in the header", source, finder.duplicate());
  return header;
}

SafetensorsType parse_type(const JsonObject& entry) {
  const std::string name = entry.string("dtype");
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<SafetensorsType>(i);
  }
  fail(ErrorCode::unsupported, "{}: element type '{}' is not known, expected F64, F32, F16, BF16, an integer or BOOL",
       entry.source(), name);
}

// A JSON array of non-negative integers. Errors: corrupt.
std::vector<uint64_t> parse_sizes(const JsonObject& entry, std::string_view key, size_t max_count) {
  const Json& array = entry.at(key);
  if (!array.is_array() || array.size() > max_count) {
    fail(ErrorCode::corrupt, "{}: key '{}': found {} of {} values, expected an array of at most {}", entry.source(),
         key, array.type_name(), array.size(), max_count);
  }
  std::vector<uint64_t> sizes;
  for (const Json& value : array) {
    // At most 2^63 - 1, so that shapes and offsets are also good as signed numbers.
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected a non-negative 63-bit integer", entry.source(), key,
           describe_json(value));
    }
    sizes.push_back(value.get<uint64_t>());
  }
  return sizes;
}

struct ParsedTensor {
  SafetensorsTensor tensor;
  uint64_t begin = 0;
  uint64_t end = 0;
};

ParsedTensor parse_tensor(const std::string& name, const Json& value, uint64_t data_bytes, const std::string& source) {
  const JsonObject entry(value, fmt::format("{}: tensor '{}'", source, name));
  ParsedTensor parsed;
  parsed.tensor.name = name;
  parsed.tensor.type = parse_type(entry);
  uint64_t bytes = safetensors_type_bytes(parsed.tensor.type);
  for (const uint64_t dim : parse_sizes(entry, "shape", kMaxDims)) {
    const auto product = checked_mul(bytes, dim);
    if (!product) fail(ErrorCode::corrupt, "{}: the size of its shape does not fit 64 bits", entry.source());
    bytes = *product;
    parsed.tensor.shape.push_back(static_cast<int64_t>(dim));
  }
  const std::vector<uint64_t> offsets = parse_sizes(entry, "data_offsets", 2);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data_bytes) {
    fail(ErrorCode::corrupt, "{}: data_offsets [{}], expected begin <= end <= {} (the bytes of data in the file)",
         entry.source(), fmt::join(offsets, ", "), data_bytes);
  }
  parsed.begin = offsets[0];
  parsed.end = offsets[1];
  if (parsed.end - parsed.begin != bytes) {
    fail(ErrorCode::corrupt, "{}: data_offsets span {} bytes, expected {} for {} {}", entry.source(),
         parsed.end - parsed.begin, bytes, safetensors_type_name(parsed.tensor.type),
         format_shape(parsed.tensor.shape));
  }
  return parsed;
}

// Sorts by offset and refuses overlaps, holes and bytes that belong to no tensor.
void check_layout(std::vector<ParsedTensor>& parsed, uint64_t data_bytes, const std::string& source) {
  std::sort(parsed.begin(), parsed.end(), [](const ParsedTensor& a, const ParsedTensor& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t position = 0;
  for (const ParsedTensor& p : parsed) {
    if (p.begin != position) {
      fail(ErrorCode::corrupt, "{}: tensor '{}' starts at data byte {}, expected {}: {}", source, p.tensor.name,
           p.begin, position, p.begin < position ? "it overlaps the tensor before it" : "there is a hole before it");
    }
    position = p.end;
  }
  if (position != data_bytes) {
    fail(ErrorCode::corrupt, "{}: found {} bytes of data, expected {} (the end of the last tensor)", source, data_bytes,
         position);
  }
}

}  // namespace

std::string_view safetensors_type_name(SafetensorsType type) noexcept {
  return kTypes[static_cast<size_t>(type)].name;
}

size_t safetensors_type_bytes(SafetensorsType type) noexcept {
  return kTypes[static_cast<size_t>(type)].bytes;
}

std::string format_shape(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, std::string source) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) {
    fail(ErrorCode::corrupt, "{}: {} bytes, expected at least 8 for the header length", source, bytes.size());
  }
  for (size_t i = 0; i < sizeof(header_bytes); ++i) header_bytes |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  const uint64_t rest = bytes.size() - sizeof(header_bytes);
  if (header_bytes > std::min(kMaxHeaderBytes, rest)) {
    fail(ErrorCode::corrupt, "{}: header of {} bytes, expected at most {} ({})", source, header_bytes,
         std::min(kMaxHeaderBytes, rest), rest < kMaxHeaderBytes ? "the rest of the file" : "the format's limit");
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof(header_bytes),
                              static_cast<size_t>(header_bytes));
  const std::span<const std::byte> data = bytes.subspan(sizeof(header_bytes) + static_cast<size_t>(header_bytes));
  const Json header = parse_header(text, source);

  std::vector<ParsedTensor> parsed;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) {
        fail(ErrorCode::corrupt, "{}: key '__metadata__': found {}, expected an object", source, describe_json(value));
      }
      continue;
    }
    parsed.push_back(parse_tensor(name, value, data.size(), source));
  }
  check_layout(parsed, data.size(), source);

  SafetensorsFile file;
  file.source_ = std::move(source);
  for (ParsedTensor& p : parsed) {
    p.tensor.data = data.subspan(static_cast<size_t>(p.begin), static_cast<size_t>(p.end - p.begin));
    file.tensors_.push_back(std::move(p.tensor));
  }
  file.index_tensors();
  return file;
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  auto mapping = std::make_shared<const MappedFile>(path);
  SafetensorsFile file = parse(mapping->bytes(), path);
  file.mappings_.push_back(std::move(mapping));
  return file;
}

const SafetensorsTensor* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

std::vector<std::string> SafetensorsFile::paths() const {
  std::vector<std::string> paths;
  for (const auto& mapping : mappings_) paths.push_back(mapping->path());
  return paths;
}

void SafetensorsFile::release(std::span<const std::byte> bytes) const noexcept {
  release_pages(mappings_, bytes);
}

// The map's keys are views into tensors_: call it whenever tensors_ has got its final size.
void SafetensorsFile::index_tensors() {
  by_name_.clear();
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

}  // namespace thimble
