// A split set differs from another in the tensors of any of its parts: all of them count.
#include "eval/model_hash.h"

#include <fmt/format.h>

#include "base/file.h"
#include "base/hash.h"

namespace thimble {

std::string model_hash(const GgufFile& gguf) {
  const MappedFile first(gguf.source());
  std::string all = content_hash(first.bytes());
  if (gguf.file_bytes() == first.bytes().size()) return all;
  // The first part has all metadata; what others add are tensors.
  for (const GgufTensor& tensor : gguf.tensors()) {
    all += fmt::format("/{}/{}/{}", tensor.name, traits(tensor.view.type).name, content_hash(tensor.view.data));
  }
  return content_hash(all);
}

}  // namespace thimble
