// SHA-256 (FIPS 180-4, by libsodium), for sums that people compare with those of other tools (`sha256sum`): task data,
// downloads. Journals and caches use the faster hash of hash.h.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

/// The sum of `text` as 64 lower-case hex digits.
std::string sha256(std::string_view text);

}  // namespace thimble
