// The fingerprint samples tensor data because fine-tunes share metadata, table and size with their base, and archives
// and package stores give every file one time: without samples two such files would pass for each other.
#include "pack/model_identity.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/hash.h"

namespace thimble {

namespace {

constexpr size_t kSamples = 64;
constexpr size_t kSampleBytes = 4096;

template <typename T>
void add_number(ContentHasher& hasher, T value) {
  hasher.update(std::as_bytes(std::span(&value, 1)));
}

void add_text(ContentHasher& hasher, std::string_view text) {
  add_number(hasher, uint64_t{text.size()});
  hasher.update(text);
}

void add_value(ContentHasher& hasher, const GgufScalar& value) {
  add_number(hasher, static_cast<uint32_t>(value.index()));
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string_view>) {
          add_text(hasher, v);
        } else if constexpr (std::is_same_v<T, GgufArray>) {
          add_number(hasher, static_cast<uint32_t>(v.element_type));
          add_number(hasher, v.count);
          hasher.update(v.bytes);
          if (v.strings.empty()) return;
          // The strings lie in one run of the file, each behind its length.
          add_number(hasher, uint64_t{v.strings.front().size()});
          const char* const begin = v.strings.front().data();
          const char* const end = v.strings.back().data() + v.strings.back().size();
          hasher.update(std::string_view(begin, static_cast<size_t>(end - begin)));
        } else {
          add_number(hasher, v);
        }
      },
      value);
}

}  // namespace

std::string header_hash(const GgufFile& gguf) {
  ContentHasher hasher;
  for (const GgufKeyValue& entry : gguf.metadata()) {
    add_text(hasher, entry.key);
    add_value(hasher, entry.value);
  }
  for (const GgufTensor& tensor : gguf.tensors()) {
    add_text(hasher, tensor.name);
    add_number(hasher, static_cast<uint32_t>(tensor.view.type));
    for (const int64_t n : tensor.view.ne) add_number(hasher, n);
  }
  return hasher.hash();
}

ModelIdentity identify_model(const GgufFile& gguf) {
  ModelIdentity identity;
  ContentHasher hasher;
  hasher.update(header_hash(gguf));
  for (const std::string& path : gguf.paths()) {
    identity.parts.push_back(file_stamp(path));
    add_number(hasher, identity.parts.back().bytes);
  }
  const std::span<const GgufTensor> tensors = gguf.tensors();
  const size_t n = std::min(kSamples, tensors.size());
  for (size_t i = 0; i < n; ++i) {
    // From the mapping, not from the path: the file may have been replaced since it was opened.
    const std::span<const std::byte> data = tensors[i * tensors.size() / n].view.data;
    const std::span<const std::byte> sample = data.subspan(data.size() / 2, std::min(kSampleBytes, data.size() / 2));
    hasher.update(sample);
    gguf.release(sample);
  }
  identity.fingerprint = hasher.hash();
  return identity;
}

std::string model_content_hash(const GgufFile& gguf, const Task& task) {
  ContentHasher hasher;
  hasher.update(header_hash(gguf));
  uint64_t done = 0;
  for (const GgufTensor& tensor : gguf.tensors()) {
    for (std::span<const std::byte> rest = tensor.view.data; !rest.empty();) {
      task.check("reading the model");
      task.report(done, gguf.file_bytes(), "comparing the model with its packed weights");
      const std::span<const std::byte> piece = rest.first(std::min(kReadBytes, rest.size()));
      hasher.update(piece);
      gguf.release(piece);
      rest = rest.subspan(piece.size());
      done += piece.size();
    }
  }
  return hasher.hash();
}

}  // namespace thimble
