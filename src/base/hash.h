// 128-bit content hash (XXH3) as 32 hex digits: identity of files and settings in journals and caches, not security.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace thimble {

std::string content_hash(std::span<const std::byte> bytes);
std::string content_hash(std::string_view text);

}  // namespace thimble
