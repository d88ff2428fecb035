// Encoders of the K-quants with scale and min per sub-block: Q2_K (16 x 16), Q4_K and Q5_K (8 x 32).
//
// Steps, after quantize_row_q4_K_impl of ggml-quants.c (llama.cpp v0.5.0): fit every sub-block on its own, fit the
// super-block's two scales to the fits, round. Other than there, the 6-bit (4-bit) scale and min of each sub-block are
// then chosen by the error that the codes really have, among the nearest values and their neighbours (the idea of
// ik_llama.cpp pull request 624), and the same search is done without importance.
#include <cstring>

#include "base/float16.h"
#include "tensor/blocks.h"
#include "tensor/encode.h"
#include "tensor/encode_input.h"
#include "tensor/scale_search.h"

namespace thimble {

namespace {

// A super-block of kSubs sub-blocks before packing.
template <int kSubs>
struct AffineSuperBlock {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[kSubs];
  uint8_t mins[kSubs];
  uint8_t codes[kSuperBlock];
};

struct AffineLimits {
  float max_code;
  float max_scale;  // of both the stored scale and the stored min of a sub-block
  float sigma2;     // in mean squares, see favor_large_elements; ggml's values
};

// Stored scale and min of one sub-block with the least error, given the super-block's d and dmin.
template <int kElems>
ScaleMin choose_scale_min(const float* x, const float* w, AffineFit fit, AffineFit unit, AffineLimits limits) noexcept {
  const CodeRange stored = {0.0f, limits.max_scale};
  const float scale = nearest_code(fit.scale * inverse_or_zero(unit.scale), stored);
  const float min = nearest_code(fit.offset * inverse_or_zero(unit.offset), stored);
  ScaleMin best = {static_cast<uint8_t>(scale), static_cast<uint8_t>(min)};
  float best_error = rounding_error<kElems>(x, w, {unit.scale * scale, unit.offset * min}, {0.0f, limits.max_code});
  for (float s = scale - 1.0f; s <= scale + 1.0f; s += 1.0f) {
    for (float m = min - 1.0f; m <= min + 1.0f; m += 1.0f) {
      if (s < 0.0f || s > stored.high || m < 0.0f || m > stored.high) continue;
      const float error = rounding_error<kElems>(x, w, {unit.scale * s, unit.offset * m}, {0.0f, limits.max_code});
      if (error < best_error) {
        best_error = error;
        best = {static_cast<uint8_t>(s), static_cast<uint8_t>(m)};
      }
    }
  }
  return best;
}

template <int kSubs>
void search_super_block(const float* input, const float* importance, AffineLimits limits,
                        AffineSuperBlock<kSubs>& out) noexcept {
  constexpr int kElems = kSuperBlock / kSubs;
  float x[kSuperBlock];
  float w[kSuperBlock];
  const float magnitude = normalize_block(input, kSuperBlock, x);
  std::memset(&out, 0, sizeof(out));
  if (magnitude == 0.0f) return;
  fill_weights(importance, kSuperBlock, w);
  favor_large_elements(x, kSuperBlock, limits.sigma2 * mean_square(x, kSuperBlock), w);

  AffineFit fits[kSubs];
  float scales[kSubs];
  float mins[kSubs];
  float sub_weights[kSubs];
  for (int s = 0; s < kSubs; ++s) {
    fits[s] = fit_affine<kElems>(x + kElems * s, w + kElems * s, limits.max_code, OffsetSign::not_positive);
    scales[s] = fits[s].scale;
    mins[s] = -fits[s].offset;
    sub_weights[s] = 0.0f;
    for (int i = 0; i < kElems; ++i) sub_weights[s] += w[kElems * s + i];
  }
  const CodeRange stored = {0.0f, limits.max_scale};
  out.d = super_scale_to_f16(fit_scale<kSubs>(scales, sub_weights, stored) * magnitude);
  out.dmin = super_scale_to_f16(fit_scale<kSubs>(mins, sub_weights, stored) * magnitude);
  // In units of the normalized block; the min is subtracted.
  const AffineFit unit = {f16_to_f32(out.d) / magnitude, -f16_to_f32(out.dmin) / magnitude};
  for (int s = 0; s < kSubs; ++s) {
    const float* sub_x = x + kElems * s;
    const ScaleMin chosen = choose_scale_min<kElems>(sub_x, w + kElems * s, fits[s], unit, limits);
    out.scales[s] = chosen.scale;
    out.mins[s] = chosen.min;
    const AffineFit grid = {unit.scale * static_cast<float>(chosen.scale),
                            unit.offset * static_cast<float>(chosen.min)};
    round_codes<kElems>(sub_x, grid, {0.0f, limits.max_code}, out.codes + kElems * s);
  }
}

// Low nibbles of 32 elements, then high nibbles of the next 32.
void store_nibbles(const uint8_t* codes, uint8_t* qs) noexcept {
  for (int part = 0; part < 4; ++part, codes += 64, qs += 32) {
    for (int l = 0; l < 32; ++l) qs[l] = static_cast<uint8_t>((codes[l] & 15) | ((codes[l + 32] & 15) << 4));
  }
}

}  // namespace

void encode_q2_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  BlockQ2K* block = blocks_as<BlockQ2K>(blocks);
  for (int64_t i = 0; i < n; i += kSuperBlock, ++block) {
    AffineSuperBlock<16> super;
    search_super_block(x + i, importance != nullptr ? importance + i : nullptr, {3.0f, 15.0f, 1.0f}, super);
    block->d = super.d;
    block->dmin = super.dmin;
    for (int s = 0; s < 16; ++s) block->scales[s] = static_cast<uint8_t>(super.scales[s] | (super.mins[s] << 4));
    for (int half = 0; half < 2; ++half) {
      const uint8_t* codes = super.codes + 128 * half;
      for (int l = 0; l < 32; ++l) {
        block->qs[32 * half + l] =
            static_cast<uint8_t>(codes[l] | (codes[l + 32] << 2) | (codes[l + 64] << 4) | (codes[l + 96] << 6));
      }
    }
  }
}

void encode_q4_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  BlockQ4K* block = blocks_as<BlockQ4K>(blocks);
  for (int64_t i = 0; i < n; i += kSuperBlock, ++block) {
    AffineSuperBlock<8> super;
    search_super_block(x + i, importance != nullptr ? importance + i : nullptr, {15.0f, 63.0f, 2.0f}, super);
    block->d = super.d;
    block->dmin = super.dmin;
    pack_scale_min(super.scales, super.mins, block->scales);
    store_nibbles(super.codes, block->qs);
  }
}

void encode_q5_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  BlockQ5K* block = blocks_as<BlockQ5K>(blocks);
  for (int64_t i = 0; i < n; i += kSuperBlock, ++block) {
    AffineSuperBlock<8> super;
    search_super_block(x + i, importance != nullptr ? importance + i : nullptr, {31.0f, 63.0f, 2.0f}, super);
    block->d = super.d;
    block->dmin = super.dmin;
    pack_scale_min(super.scales, super.mins, block->scales);
    store_nibbles(super.codes, block->qs);
    for (int l = 0; l < 32; ++l) {
      int bits = 0;
      for (int s = 0; s < 8; ++s) bits |= (super.codes[32 * s + l] >> 4) << s;
      block->qh[l] = static_cast<uint8_t>(bits);
    }
  }
}

}  // namespace thimble
