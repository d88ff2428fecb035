// Decoders of the 256-element blocks: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS. The order of the float operations is
// ggml's, because d * (scale * q) and (d * scale) * q differ in the last bit.
#include "base/float16.h"
#include "tensor/blocks.h"
#include "tensor/decode.h"

namespace thimble {

void decode_q2_k(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ2K* block = blocks_as<BlockQ2K>(blocks);
  for (; n > 0; n -= kSuperBlock, ++block, out += kSuperBlock) {
    const float d = f16_to_f32(block->d);
    const float dmin = f16_to_f32(block->dmin);
    for (int s = 0; s < 16; ++s) {
      const float scale = d * static_cast<float>(block->scales[s] & 15);
      const float min = dmin * static_cast<float>(block->scales[s] >> 4);
      const uint8_t* qs = block->qs + 32 * (s / 8) + 16 * (s % 2);
      const int shift = 2 * (s % 8 / 2);
      for (int l = 0; l < 16; ++l) out[16 * s + l] = scale * static_cast<float>((qs[l] >> shift) & 3) - min;
    }
  }
}

void decode_q3_k(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ3K* block = blocks_as<BlockQ3K>(blocks);
  for (; n > 0; n -= kSuperBlock, ++block, out += kSuperBlock) {
    const float d = f16_to_f32(block->d);
    for (int s = 0; s < 16; ++s) {
      const float scale = d * static_cast<float>(unpack_q3_scale(block->scales, s));
      const uint8_t* qs = block->qs + 32 * (s / 8) + 16 * (s % 2);
      const uint8_t* hmask = block->hmask + 16 * (s % 2);
      const int shift = 2 * (s % 8 / 2);
      for (int l = 0; l < 16; ++l) {
        const int q = ((qs[l] >> shift) & 3) + 4 * ((hmask[l] >> (s / 2)) & 1) - 4;
        out[16 * s + l] = scale * static_cast<float>(q);
      }
    }
  }
}

void decode_q4_k(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ4K* block = blocks_as<BlockQ4K>(blocks);
  for (; n > 0; n -= kSuperBlock, ++block, out += kSuperBlock) {
    const float d = f16_to_f32(block->d);
    const float dmin = f16_to_f32(block->dmin);
    for (int s = 0; s < 8; ++s) {
      const ScaleMin packed = unpack_scale_min(block->scales, s);
      const float scale = d * static_cast<float>(packed.scale);
      const float min = dmin * static_cast<float>(packed.min);
      const uint8_t* qs = block->qs + 32 * (s / 2);
      const int shift = 4 * (s % 2);
      for (int l = 0; l < 32; ++l) out[32 * s + l] = scale * static_cast<float>((qs[l] >> shift) & 15) - min;
    }
  }
}

void decode_q5_k(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ5K* block = blocks_as<BlockQ5K>(blocks);
  for (; n > 0; n -= kSuperBlock, ++block, out += kSuperBlock) {
    const float d = f16_to_f32(block->d);
    const float dmin = f16_to_f32(block->dmin);
    for (int s = 0; s < 8; ++s) {
      const ScaleMin packed = unpack_scale_min(block->scales, s);
      const float scale = d * static_cast<float>(packed.scale);
      const float min = dmin * static_cast<float>(packed.min);
      const uint8_t* qs = block->qs + 32 * (s / 2);
      const int shift = 4 * (s % 2);
      for (int l = 0; l < 32; ++l) {
        const int q = ((qs[l] >> shift) & 15) + 16 * ((block->qh[l] >> s) & 1);
        out[32 * s + l] = scale * static_cast<float>(q) - min;
      }
    }
  }
}

void decode_q6_k(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockQ6K* block = blocks_as<BlockQ6K>(blocks);
  for (; n > 0; n -= kSuperBlock, ++block, out += kSuperBlock) {
    const float d = f16_to_f32(block->d);
    for (int s = 0; s < 16; ++s) {
      const float scale = d * static_cast<float>(block->scales[s]);
      const int quarter = s % 8 / 2;  // which 32 of the 128 elements
      const uint8_t* ql = block->ql + 64 * (s / 8) + 32 * (quarter % 2) + 16 * (s % 2);
      const uint8_t* qh = block->qh + 32 * (s / 8) + 16 * (s % 2);
      for (int l = 0; l < 16; ++l) {
        const int q = ((ql[l] >> (4 * (quarter / 2))) & 15) + 16 * ((qh[l] >> (2 * quarter)) & 3) - 32;
        out[16 * s + l] = scale * static_cast<float>(q);
      }
    }
  }
}

void decode_iq4_xs(const std::byte* blocks, float* out, int64_t n) noexcept {
  const BlockIQ4_XS* block = blocks_as<BlockIQ4_XS>(blocks);
  for (; n > 0; n -= kSuperBlock, ++block, out += kSuperBlock) {
    const float d = f16_to_f32(block->d);
    for (int s = 0; s < 8; ++s) {
      const float scale = d * static_cast<float>(unpack_iq4_scale(*block, s));
      const uint8_t* qs = block->qs + 16 * s;
      for (int j = 0; j < 16; ++j) {
        out[32 * s + j] = scale * static_cast<float>(kIq4Values[qs[j] & 15]);
        out[32 * s + j + 16] = scale * static_cast<float>(kIq4Values[qs[j] >> 4]);
      }
    }
  }
}

}  // namespace thimble
