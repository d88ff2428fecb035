// Opening GGUF files, and joining split sets NAME-00001-of-0000N.gguf (llama.cpp's gguf-split): the first part carries
// all metadata, every part its own tensor data and the keys split.no, split.count and split.tensors.count.
#include <utility>

#include "base/error.h"
#include "format/byte_reader.h"
#include "format/gguf.h"
#include "format/mapped_pages.h"

namespace thimble {

namespace {

constexpr uint64_t kMaxParts = 65535;  // split.count is u16 in stock files

std::string part_suffix(uint64_t number, uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number, count);
}

// Path without "-0000K-of-0000N.gguf" for the part `number` (from 1), as part names follow from each other only by it.
std::string split_prefix(const std::string& path, uint64_t number, uint64_t count) {
  const std::string suffix = part_suffix(number, count);
  if (!path.ends_with(suffix)) {
    fail(ErrorCode::invalid_argument, "{}: found part {} of a split set of {}, expected a file name ending in {}", path,
         number, count, suffix);
  }
  return path.substr(0, path.size() - suffix.size());
}

std::shared_ptr<const MappedFile> map_part(const std::string& path, const std::string& first) {
  try {
    return std::make_shared<const MappedFile>(path);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::not_found) throw;
    fail(ErrorCode::corrupt, "{}: part {} of the split set is missing", first, path);
  }
}

}  // namespace

void GgufFile::append_part(GgufFile&& part) {
  for (const GgufTensor& tensor : part.tensors_) {
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found in an earlier part too", part.source_, printable(tensor.name));
    }
    tensors_.push_back(tensor);
  }
  file_bytes_ += part.file_bytes_;
  mappings_.insert(mappings_.end(), part.mappings_.begin(), part.mappings_.end());
}

std::vector<std::string> GgufFile::paths() const {
  std::vector<std::string> paths;
  for (const auto& mapping : mappings_) paths.push_back(mapping->path());
  return paths;
}

void GgufFile::release(std::span<const std::byte> bytes) const noexcept {
  release_pages(mappings_, bytes);
}

GgufFile GgufFile::open(const std::string& path) {
  auto mapping = std::make_shared<const MappedFile>(path);
  GgufFile file = parse(mapping->bytes(), path);
  file.mappings_.push_back(std::move(mapping));

  const uint64_t count = file.get_uint("split.count", 0, kMaxParts, 0);
  if (count <= 1) return file;
  const uint64_t number = file.get_uint("split.no", 0, count - 1);
  const std::string prefix = split_prefix(path, number + 1, count);
  if (number != 0) {
    fail(ErrorCode::invalid_argument, "{}: found part {} of a split set of {}, open the first part {}", path,
         number + 1, count, prefix + part_suffix(1, count));
  }
  const uint64_t n_tensors = file.get_uint("split.tensors.count", 0, kGgufMaxTensors);
  for (uint64_t i = 1; i < count; ++i) {
    const std::string part_path = prefix + part_suffix(i + 1, count);
    auto part_mapping = map_part(part_path, path);
    GgufFile part = parse(part_mapping->bytes(), part_path);
    part.mappings_.push_back(std::move(part_mapping));
    part.get_uint("split.no", i, i);
    part.get_uint("split.count", count, count);
    part.get_uint("split.tensors.count", n_tensors, n_tensors);
    file.append_part(std::move(part));
  }
  if (file.tensors_.size() != n_tensors) {
    fail(ErrorCode::corrupt, "{}: key 'split.tensors.count': found {} tensors in all parts, expected {}", path,
         file.tensors_.size(), n_tensors);
  }
  return file;
}

}  // namespace thimble
