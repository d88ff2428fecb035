// Decoders of the plain float types and of the 32-element blocks: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL.
#include <bit>
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
  // f16_to_f32 in selects instead of branches, which compilers turn into vector code: quantizing a model reads all of
  // it through this loop.
  for (int64_t i = 0; i < n; ++i) {
    const int32_t half = load_u16(blocks, i);
    const int32_t magnitude = half & 0x7FFF;
    const int32_t shifted = magnitude << 13;
    const auto subnormal = std::bit_cast<int32_t>(static_cast<float>(magnitude) * 0x1p-24f);
    const int32_t normal = shifted + (magnitude < 0x7C00 ? 0x38000000 : 0x70000000);
    const int32_t bits = magnitude < 0x400 ? subnormal : normal;
    out[i] = std::bit_cast<float>(bits | ((half & 0x8000) << 16));
  }
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
