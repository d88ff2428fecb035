// Decoders of the plain float types and of the 32-element blocks: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL.
#include <cstring>

#include "base/float16.h"
#include "tensor/blocks.h"
#include "tensor/decode.h"

namespace thimble {

namespace {

uint16_t load_u16(const std::byte* bytes, int64_t i) noexcept {
  uint16_t value = 0;
  std::memcpy(&value, bytes + 2 * i, 2);
  return value;
}

}  // namespace

void decode_f32(const std::byte* blocks, float* out, int64_t n) noexcept {
  if (n > 0) std::memcpy(out, blocks, static_cast<size_t>(n) * sizeof(float));
}

void decode_f16(const std::byte* blocks, float* out, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) out[i] = f16_to_f32(load_u16(blocks, i));
}

void decode_bf16(const std::byte* blocks, float* out, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) out[i] = bf16_to_f32(load_u16(blocks, i));
}

void decode_q8_0(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ8_0* block = blocks_as<BlockQ8_0>(blocks);
  for (; n > 0; n -= kSmallBlock, ++block, out += kSmallBlock) {
    const float d = f16_to_f32(block->d);
    for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(block->qs[j]) * d;
  }
}

void decode_q4_0(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ4_0* block = blocks_as<BlockQ4_0>(blocks);
  for (; n > 0; n -= kSmallBlock, ++block, out += kSmallBlock) {
    const float d = f16_to_f32(block->d);
    for (int j = 0; j < 16; ++j) {
      out[j] = static_cast<float>((block->qs[j] & 15) - 8) * d;
      out[j + 16] = static_cast<float>((block->qs[j] >> 4) - 8) * d;
    }
  }
}

void decode_q4_1(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ4_1* block = blocks_as<BlockQ4_1>(blocks);
  for (; n > 0; n -= kSmallBlock, ++block, out += kSmallBlock) {
    const float d = f16_to_f32(block->d);
    const float m = f16_to_f32(block->m);
    for (int j = 0; j < 16; ++j) {
      out[j] = static_cast<float>(block->qs[j] & 15) * d + m;
      out[j + 16] = static_cast<float>(block->qs[j] >> 4) * d + m;
    }
  }
}

void decode_q5_0(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ5_0* block = blocks_as<BlockQ5_0>(blocks);
  for (; n > 0; n -= kSmallBlock, ++block, out += kSmallBlock) {
    const float d = f16_to_f32(block->d);
    const uint32_t qh = block->qh;
    for (int j = 0; j < 16; ++j) {
      const uint32_t low = (block->qs[j] & 15u) | (((qh >> j) & 1u) << 4);
      const uint32_t high = (block->qs[j] >> 4u) | (((qh >> (j + 16)) & 1u) << 4);
      out[j] = static_cast<float>(static_cast<int>(low) - 16) * d;
      out[j + 16] = static_cast<float>(static_cast<int>(high) - 16) * d;
    }
  }
}

void decode_q5_1(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ5_1* block = blocks_as<BlockQ5_1>(blocks);
  for (; n > 0; n -= kSmallBlock, ++block, out += kSmallBlock) {
    const float d = f16_to_f32(block->d);
    const float m = f16_to_f32(block->m);
    const uint32_t qh = block->qh;
    for (int j = 0; j < 16; ++j) {
      const uint32_t low = (block->qs[j] & 15u) | (((qh >> j) & 1u) << 4);
      const uint32_t high = (block->qs[j] >> 4u) | (((qh >> (j + 16)) & 1u) << 4);
      out[j] = static_cast<float>(static_cast<int>(low)) * d + m;
      out[j + 16] = static_cast<float>(static_cast<int>(high)) * d + m;
    }
  }
}

void decode_iq4_nl(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockIQ4_NL* block = blocks_as<BlockIQ4_NL>(blocks);
  for (; n > 0; n -= kSmallBlock, ++block, out += kSmallBlock) {
    const float d = f16_to_f32(block->d);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(kIq4Values[block->qs[j] & 15]);
      out[j + 16] = d * static_cast<float>(kIq4Values[block->qs[j] >> 4]);
    }
  }
}

}  // namespace thimble
