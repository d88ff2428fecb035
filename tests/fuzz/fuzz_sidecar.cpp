// Any bytes given to the parser of packed weights end in a header whose tensors lie inside the file it names, or in
// Error. The hash that a fuzzer cannot guess is put right, so that it reaches what is behind it.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/hash.h"
#include "pack/sidecar_format.h"

namespace {

void parse(std::span<const std::byte> bytes) {
  try {
    const auto header = thimble::parse_sidecar_header(bytes, "fuzz");
    uint64_t end = header.header_bytes;
    for (const auto& t : header.tensors) {
      if (t.offset < end || t.bytes > header.file_bytes || t.offset > header.file_bytes - t.bytes) __builtin_trap();
      end = t.offset + t.bytes;
    }
    // What was read is written the same.
    const auto again = thimble::sidecar_header(header);
    if (!std::equal(again.begin(), again.end(), bytes.begin())) __builtin_trap();
  } catch (const thimble::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto given = std::as_bytes(std::span(data, size));
  parse(given);
  std::vector<std::byte> bytes(given.begin(), given.end());
  const uint64_t header = thimble::sidecar_header_bytes(bytes);
  constexpr size_t kHashChars = 32;
  if (header < kHashChars || header > bytes.size()) return 0;
  const std::string hash = thimble::content_hash(std::span(bytes).first(header - kHashChars));
  std::memcpy(bytes.data() + (header - kHashChars), hash.data(), kHashChars);
  parse(bytes);
  return 0;
}
