// 128-bit content hash (XXH3) as 32 hex digits: identity of files and settings in journals and caches, not security.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace thimble {

std::string content_hash(std::span<const std::byte> bytes);
std::string content_hash(std::string_view text);

/// The same 128 bits as 16 bytes, most significant first: for binary files.
using ContentDigest = std::array<std::byte, 16>;
ContentDigest content_digest(std::span<const std::byte> bytes) noexcept;

/// The same hash over bytes that come in pieces.
class ContentHasher {
 public:
  ContentHasher();
  ~ContentHasher();
  ContentHasher(const ContentHasher&) = delete;
  ContentHasher& operator=(const ContentHasher&) = delete;

  void update(std::span<const std::byte> bytes) noexcept;
  void update(std::string_view text) noexcept { update(std::as_bytes(std::span(text))); }
  /// content_hash() of everything given so far.
  std::string hash() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace thimble
