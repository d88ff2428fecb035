// Encoders of the types with 16 non-uniform levels: IQ4_NL (one scale per 32) and IQ4_XS (6-bit sub-scales of a
// super-block). After quantize_row_iq4_nl_impl of ggml-quants.c (llama.cpp v0.5.0); the differences are those of the
// other families: both ends of the level table are tried, stored sub-scales are chosen by their real error, and
// without importance the weights are those of equal importance instead of x^2.
#include <cstring>
#include <initializer_list>

#include "base/float16.h"
#include "tensor/blocks.h"
#include "tensor/encode.h"
#include "tensor/encode_input.h"
#include "tensor/scale_search.h"

namespace thimble {

namespace {

constexpr int kSubs = kSuperBlock / kSmallBlock;
constexpr CodeRange kStoredScales = {-32.0f, 31.0f};
constexpr uint8_t kSmallestLevel = 8;  // kIq4Values[8] == 1: the grid has no zero

void store_nibbles(const uint8_t* codes, uint8_t* qs) noexcept {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>(codes[j] | (codes[j + 16] << 4));
}

int choose_scale(const float* x, const float* w, float fit, float unit) noexcept {
  const float nearest = nearest_code(fit * inverse_or_zero(unit), kStoredScales);
  float best = nearest;
  float best_error = iq4_rounding_error(x, w, unit * nearest);
  for (const float scale : {nearest - 1.0f, nearest + 1.0f}) {
    if (scale < kStoredScales.low || scale > kStoredScales.high) continue;
    const float error = iq4_rounding_error(x, w, unit * scale);
    if (error < best_error) {
      best_error = error;
      best = scale;
    }
  }
  return static_cast<int>(best);
}

void encode_super_block(const float* input, const float* importance, BlockIQ4_XS& block) noexcept {
  float x[kSuperBlock];
  float w[kSuperBlock];
  std::memset(&block, 0, sizeof(block));
  const float magnitude = normalize_block(input, kSuperBlock, x);
  if (magnitude == 0.0f) return;
  fill_weights(importance, kSuperBlock, w);
  favor_large_elements(x, kSuperBlock, 2.0f * mean_square(x, kSuperBlock), w);

  float fits[kSubs];
  float sub_weights[kSubs];
  for (int s = 0; s < kSubs; ++s) {
    fits[s] = fit_iq4_scale(x + kSmallBlock * s, w + kSmallBlock * s);
    sub_weights[s] = 0.0f;
    for (int i = 0; i < kSmallBlock; ++i) sub_weights[s] += w[kSmallBlock * s + i];
  }
  block.d = super_scale_to_f16(fit_scale<kSubs>(fits, sub_weights, kStoredScales) * magnitude);
  const float unit = f16_to_f32(block.d) / magnitude;
  int scales_h = 0;
  for (int s = 0; s < kSubs; ++s) {
    const float* sub_x = x + kSmallBlock * s;
    const int scale = choose_scale(sub_x, w + kSmallBlock * s, fits[s], unit);
    uint8_t codes[kSmallBlock];
    round_iq4_codes(sub_x, unit * static_cast<float>(scale), codes);
    store_nibbles(codes, block.qs + 16 * s);
    const int stored = scale + 32;
    block.scales_l[s / 2] = static_cast<uint8_t>(block.scales_l[s / 2] | ((stored & 15) << (4 * (s % 2))));
    scales_h |= (stored >> 4) << (2 * s);
  }
  block.scales_h = static_cast<uint16_t>(scales_h);
}

}  // namespace

void encode_iq4_nl(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  BlockIQ4_NL* block = blocks_as<BlockIQ4_NL>(blocks);
  for (int64_t i = 0; i < n; i += kSmallBlock, ++block) {
    float normal[kSmallBlock];
    float weights[kSmallBlock];
    uint8_t codes[kSmallBlock];
    const float magnitude = normalize_block(x + i, kSmallBlock, normal);
    if (magnitude == 0.0f) {
      block->d = 0;
      std::memset(block->qs, kSmallestLevel | (kSmallestLevel << 4), sizeof(block->qs));
      continue;
    }
    fill_weights(importance != nullptr ? importance + i : nullptr, kSmallBlock, weights);
    favor_large_elements(normal, kSmallBlock, 2.0f * mean_square(normal, kSmallBlock), weights);
    block->d = scale_to_f16(fit_iq4_scale(normal, weights) * magnitude);
    round_iq4_codes(normal, f16_to_f32(block->d) / magnitude, codes);
    store_nibbles(codes, block->qs);
  }
}

void encode_iq4_xs(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  BlockIQ4_XS* block = blocks_as<BlockIQ4_XS>(blocks);
  for (int64_t i = 0; i < n; i += kSuperBlock, ++block) {
    encode_super_block(x + i, importance != nullptr ? importance + i : nullptr, *block);
  }
}

}  // namespace thimble
