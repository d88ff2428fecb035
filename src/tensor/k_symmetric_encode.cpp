// Encoders of the K-quants with a signed scale per sub-block of 16 and no min: Q3_K and Q6_K.
//
// Steps, after quantize_row_q3_K_impl and quantize_row_q6_K_impl of ggml-quants.c (llama.cpp v0.5.0): fit every
// sub-block on its own, fit the super-block's scale to the fits, round. Other than there, each stored sub-scale is
// chosen by the error that the codes really have, among the nearest value and its neighbours, and without importance
// the weights are those of equal importance instead of x^2.
#include <cstring>
#include <initializer_list>

#include "base/float16.h"
#include "tensor/blocks.h"
#include "tensor/encode.h"
#include "tensor/encode_input.h"
#include "tensor/scale_search.h"

namespace thimble {

namespace {

constexpr int kSubs = 16;
constexpr int kElems = kSuperBlock / kSubs;

struct SymmetricLimits {
  CodeRange codes;
  CodeRange scales;  // stored sub-scales
  bool favor_large;  // see favor_large_elements; at 6 bits ggml uses plain importance
};

struct SymmetricSuperBlock {
  uint16_t d;
  int8_t scales[kSubs];
  uint8_t codes[kSuperBlock];  // shifted to start at 0
};

int8_t choose_scale(const float* x, const float* w, float fit, float unit, SymmetricLimits limits) noexcept {
  const float nearest = nearest_code(fit * inverse_or_zero(unit), limits.scales);
  float best = nearest;
  float best_error = rounding_error<kElems>(x, w, {unit * nearest, 0.0f}, limits.codes);
  for (const float scale : {nearest - 1.0f, nearest + 1.0f}) {
    if (scale < limits.scales.low || scale > limits.scales.high) continue;
    const float error = rounding_error<kElems>(x, w, {unit * scale, 0.0f}, limits.codes);
    if (error < best_error) {
      best_error = error;
      best = scale;
    }
  }
  return static_cast<int8_t>(best);
}

void search_super_block(const float* input, const float* importance, SymmetricLimits limits,
                        SymmetricSuperBlock& out) noexcept {
  float x[kSuperBlock];
  float w[kSuperBlock];
  std::memset(&out, 0, sizeof(out));
  const float magnitude = normalize_block(input, kSuperBlock, x);
  if (magnitude == 0.0f) {
    std::memset(out.codes, static_cast<int>(-limits.codes.low), kSuperBlock);
    return;
  }
  fill_weights(importance, kSuperBlock, w);
  if (limits.favor_large) favor_large_elements(x, kSuperBlock, 2.0f * mean_square(x, kSuperBlock), w);

  float fits[kSubs];
  float sub_weights[kSubs];
  for (int s = 0; s < kSubs; ++s) {
    fits[s] = fit_scale<kElems>(x + kElems * s, w + kElems * s, limits.codes);
    sub_weights[s] = 0.0f;
    for (int i = 0; i < kElems; ++i) sub_weights[s] += w[kElems * s + i];
  }
  out.d = super_scale_to_f16(fit_scale<kSubs>(fits, sub_weights, limits.scales) * magnitude);
  const float unit = f16_to_f32(out.d) / magnitude;
  for (int s = 0; s < kSubs; ++s) {
    const float* sub_x = x + kElems * s;
    out.scales[s] = choose_scale(sub_x, w + kElems * s, fits[s], unit, limits);
    round_codes<kElems>(sub_x, {unit * static_cast<float>(out.scales[s]), 0.0f}, limits.codes, out.codes + kElems * s);
  }
}

}  // namespace

void encode_q3_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  constexpr SymmetricLimits kLimits = {{-4.0f, 3.0f}, {-32.0f, 31.0f}, true};
  BlockQ3K* block = blocks_as<BlockQ3K>(blocks);
  for (int64_t i = 0; i < n; i += kSuperBlock, ++block) {
    SymmetricSuperBlock super;
    search_super_block(x + i, importance != nullptr ? importance + i : nullptr, kLimits, super);
    block->d = super.d;
    pack_q3_scales(super.scales, block->scales);
    for (int l = 0; l < 32; ++l) {
      int high = 0;
      for (int part = 0; part < 8; ++part) high |= (super.codes[32 * part + l] >> 2) << part;
      block->hmask[l] = static_cast<uint8_t>(high);
      for (int half = 0; half < 2; ++half) {
        const uint8_t* codes = super.codes + 128 * half + l;
        block->qs[32 * half + l] = static_cast<uint8_t>((codes[0] & 3) | ((codes[32] & 3) << 2) |
                                                        ((codes[64] & 3) << 4) | ((codes[96] & 3) << 6));
      }
    }
  }
}

void encode_q6_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  constexpr SymmetricLimits kLimits = {{-32.0f, 31.0f}, {-128.0f, 127.0f}, false};
  BlockQ6K* block = blocks_as<BlockQ6K>(blocks);
  for (int64_t i = 0; i < n; i += kSuperBlock, ++block) {
    SymmetricSuperBlock super;
    search_super_block(x + i, importance != nullptr ? importance + i : nullptr, kLimits, super);
    block->d = super.d;
    std::memcpy(block->scales, super.scales, sizeof(super.scales));
    for (int half = 0; half < 2; ++half) {
      for (int l = 0; l < 32; ++l) {
        const uint8_t* codes = super.codes + 128 * half + l;
        block->ql[64 * half + l] = static_cast<uint8_t>((codes[0] & 15) | ((codes[64] & 15) << 4));
        block->ql[64 * half + l + 32] = static_cast<uint8_t>((codes[32] & 15) | ((codes[96] & 15) << 4));
        block->qh[32 * half + l] = static_cast<uint8_t>((codes[0] >> 4) | ((codes[32] >> 4) << 2) |
                                                        ((codes[64] >> 4) << 4) | ((codes[96] >> 4) << 6));
      }
    }
  }
}

}  // namespace thimble
