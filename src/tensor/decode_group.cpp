// Decoders of the groups of 64 and 128: I4_G64, I4_G128, I5_G64, I5_G128. The float operations are those of Q4_1, so
// that a Q4_1 file whose neighbouring blocks share d and m has the same values as I4_G64.
#include "base/float16.h"
#include "tensor/blocks.h"
#include "tensor/decode.h"

namespace thimble {

namespace {

template <typename Block>
void decode_group(const std::byte* blocks, float* out, int64_t n) noexcept {
  const Block* block = blocks_as<Block>(blocks);
  for (; n > 0; n -= Block::kElems, ++block, out += Block::kElems) {
    const float d = f16_to_f32(block->d);
    const float m = f16_to_f32(block->m);
    for (int e = 0; e < Block::kElems; ++e) out[e] = static_cast<float>(group_code(*block, e)) * d + m;
  }
}

}  // namespace

void decode_i4_g64(const std::byte* blocks, float* out, int64_t n) noexcept {
  decode_group<BlockI4_G64>(blocks, out, n);
}

void decode_i4_g128(const std::byte* blocks, float* out, int64_t n) noexcept {
  decode_group<BlockI4_G128>(blocks, out, n);
}

void decode_i5_g64(const std::byte* blocks, float* out, int64_t n) noexcept {
  decode_group<BlockI5_G64>(blocks, out, n);
}

void decode_i5_g128(const std::byte* blocks, float* out, int64_t n) noexcept {
  decode_group<BlockI5_G128>(blocks, out, n);
}

}  // namespace thimble
