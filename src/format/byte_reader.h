// A bounded cursor over little-endian bytes of a hostile file.
// Every read is checked against the bytes that remain; the error names the file, the subject, the byte and the need.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace thimble {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read by memcpy");

class ByteReader {
 public:
  /// `bytes` and `source` (the file's name in errors) must outlive the reader.
  ByteReader(std::span<const std::byte> bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  uint64_t offset() const noexcept { return offset_; }
  uint64_t remaining() const noexcept { return bytes_.size() - offset_; }
  std::span<const std::byte> bytes() const noexcept { return bytes_; }

  /// One little-endian number. `what` names it in the error. Errors: corrupt, when fewer bytes remain.
  template <typename T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  /// The next `count` bytes, as a view. Errors: corrupt, when fewer remain.
  std::span<const std::byte> take(uint64_t count, std::string_view what) {
    if (count > remaining()) fail_truncated(count, what);
    const std::span<const std::byte> piece = bytes_.subspan(offset_, static_cast<size_t>(count));
    offset_ += static_cast<size_t>(count);
    return piece;
  }

  /// A GGUF string: u64 length, then that many bytes, as a view. Errors: corrupt, when the length exceeds the file.
  std::string_view string(std::string_view what) {
    const std::span<const std::byte> piece = take(number<uint64_t>(what), what);
    return {reinterpret_cast<const char*>(piece.data()), piece.size()};
  }

 private:
  [[noreturn]] void fail_truncated(uint64_t needed, std::string_view what) const;

  std::span<const std::byte> bytes_;
  const std::string& source_;
  size_t offset_ = 0;
};

}  // namespace thimble
