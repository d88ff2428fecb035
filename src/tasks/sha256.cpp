#include "tasks/sha256.h"

#include <sodium/crypto_hash_sha256.h>

#include <array>

namespace thimble {

std::string sha256(std::string_view text) {
  std::array<unsigned char, crypto_hash_sha256_BYTES> sum{};
  // Always 0, and needs no sodium_init(): plain arithmetic without random numbers or locked memory.
  (void)crypto_hash_sha256(sum.data(), reinterpret_cast<const unsigned char*>(text.data()), text.size());
  std::string out;
  for (const unsigned char byte : sum) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

}  // namespace thimble
