// Any bytes given to the safetensors parsers end in views inside the bytes, or in Error.
#include "base/error.h"
#include "format/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  try {
    const auto file = thimble::SafetensorsFile::parse(bytes, "fuzz");
    size_t total = 0;
    for (const auto& tensor : file.tensors()) {
      if (file.find(tensor.name) != &tensor) __builtin_trap();
      if (!tensor.data.empty() && (tensor.data.data() < bytes.data() ||
                                   tensor.data.data() + tensor.data.size() > bytes.data() + bytes.size())) {
        __builtin_trap();
      }
      total += tensor.data.size();
    }
    if (total > size) __builtin_trap();
  } catch (const thimble::Error&) {
  }
  try {
    thimble::SafetensorsIndex::parse({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const thimble::Error&) {
  }
  return 0;
}
