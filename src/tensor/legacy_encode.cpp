// Encoders of the 32-element blocks with a uniform grid: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1.
//
// ggml (ggml-quants.c, llama.cpp v0.5.0) searches the scale of Q4 and Q5 only when it has importance weights; without,
// it takes it from the extremes. Here both cases search, and codes are rounded with the scale as stored in half
// precision.
#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "base/float16.h"
#include "tensor/blocks.h"
#include "tensor/encode.h"
#include "tensor/encode_input.h"
#include "tensor/scale_search.h"

namespace thimble {

namespace {

// One block, normalized, with its weights.
struct BlockInput {
  float x[kSmallBlock];
  float weights[kSmallBlock];
  float magnitude;  // the input was x * magnitude

  // Value of half precision bits in units of the normalized block.
  float relative(uint16_t half) const noexcept { return f16_to_f32(half) / magnitude; }
};

// `rms` is that of the whole row: ggml's sigma for these types, so that a block of small elements is not overfitted.
bool load(const float* x, const float* importance, double rms, BlockInput& block) noexcept {
  block.magnitude = normalize_block(x, kSmallBlock, block.x);
  if (block.magnitude == 0.0f) return false;
  // Beyond a million times the block's own size the sum sqrt(sigma2 + x^2) no longer depends on x.
  const double sigma = std::min(rms / static_cast<double>(block.magnitude), 1e6);
  fill_weights(importance, kSmallBlock, block.weights);
  favor_large_elements(block.x, kSmallBlock, static_cast<float>(sigma * sigma), block.weights);
  return true;
}

void store_nibbles(const uint8_t* codes, uint8_t* qs) noexcept {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>((codes[j] & 15) | ((codes[j + 16] & 15) << 4));
}

uint32_t fifth_bits(const uint8_t* codes) noexcept {
  uint32_t bits = 0;
  for (int j = 0; j < 32; ++j) bits |= static_cast<uint32_t>(codes[j] >> 4) << j;
  return bits;
}

// Of `half` and the half precision values next to it the one with the least error. The neighbours matter for small
// scales, which half precision holds with few bits.
template <typename ErrorOf>
uint16_t best_neighbour(uint16_t half, ErrorOf error_of) noexcept {
  uint16_t best = half;
  float best_error = error_of(half);
  const uint32_t magnitude = half & 0x7FFFu;
  for (const uint32_t neighbour : {magnitude + 1u, magnitude - 1u}) {
    if (neighbour >= 0x7C00u) continue;  // infinity, or below zero
    const uint16_t candidate = static_cast<uint16_t>((half & 0x8000u) | neighbour);
    const float error = error_of(candidate);
    if (error < best_error) {
      best_error = error;
      best = candidate;
    }
  }
  return best;
}

// Scale (half precision bits) and codes of a symmetric grid; a zero block gets the code of 0.
uint16_t encode_symmetric(const float* x, const float* importance, double rms, CodeRange range,
                          uint8_t* codes) noexcept {
  BlockInput block;
  if (!load(x, importance, rms, block)) {
    std::fill(codes, codes + kSmallBlock, static_cast<uint8_t>(-range.low));
    return 0;
  }
  const float fit = fit_scale<kSmallBlock>(block.x, block.weights, range) * block.magnitude;
  const uint16_t d = best_neighbour(scale_to_f16(fit), [&](uint16_t half) {
    return rounding_error<kSmallBlock>(block.x, block.weights, {block.relative(half), 0.0f}, range);
  });
  round_codes<kSmallBlock>(block.x, {block.relative(d), 0.0f}, range, codes);
  return d;
}

struct HalfAffine {
  uint16_t d;
  uint16_t m;
};

HalfAffine encode_affine(const float* x, const float* importance, double rms, float max_code, uint8_t* codes) noexcept {
  BlockInput block;
  if (!load(x, importance, rms, block)) {
    std::fill(codes, codes + kSmallBlock, uint8_t{0});
    return {0, 0};
  }
  const AffineFit fit = fit_affine<kSmallBlock>(block.x, block.weights, max_code, OffsetSign::any);
  HalfAffine half = {scale_to_f16(fit.scale * block.magnitude), scale_to_f16(fit.offset * block.magnitude)};
  half.d = best_neighbour(half.d, [&](uint16_t d) {
    const AffineFit grid = {block.relative(d), block.relative(half.m)};
    return rounding_error<kSmallBlock>(block.x, block.weights, grid, {0.0f, max_code});
  });
  round_codes<kSmallBlock>(block.x, {block.relative(half.d), block.relative(half.m)}, {0.0f, max_code}, codes);
  return half;
}

}  // namespace

// As ggml, the scale puts the largest element on 127 and importance is not used: at 8 bits a search gains nothing that
// would be worth giving up decode(encode(decode(x))) == decode(x).
void encode_q8_0(const float* x, const float* /*importance*/, std::byte* blocks, int64_t n) noexcept {
  BlockQ8_0* block = blocks_as<BlockQ8_0>(blocks);
  constexpr CodeRange kRange = {-127.0f, 127.0f};
  for (; n > 0; n -= kSmallBlock, ++block, x += kSmallBlock) {
    float normal[kSmallBlock];
    const float magnitude = normalize_block(x, kSmallBlock, normal);
    float largest = 0.0f;
    for (int j = 0; j < kSmallBlock; ++j) largest = std::max(largest, std::fabs(normal[j]));
    block->d = scale_to_f16(largest / kRange.high * magnitude);
    const float inverse = magnitude > 0.0f ? inverse_or_zero(f16_to_f32(block->d) / magnitude) : 0.0f;
    for (int j = 0; j < kSmallBlock; ++j) block->qs[j] = static_cast<int8_t>(nearest_code(inverse * normal[j], kRange));
  }
}

void encode_q4_0(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  BlockQ4_0* block = blocks_as<BlockQ4_0>(blocks);
  const double rms = row_rms(x, n);
  for (int64_t i = 0; i < n; i += kSmallBlock, ++block) {
    uint8_t codes[kSmallBlock];
    block->d = encode_symmetric(x + i, importance != nullptr ? importance + i : nullptr, rms, {-8.0f, 7.0f}, codes);
    store_nibbles(codes, block->qs);
  }
}

void encode_q5_0(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  BlockQ5_0* block = blocks_as<BlockQ5_0>(blocks);
  const double rms = row_rms(x, n);
  for (int64_t i = 0; i < n; i += kSmallBlock, ++block) {
    uint8_t codes[kSmallBlock];
    block->d = encode_symmetric(x + i, importance != nullptr ? importance + i : nullptr, rms, {-16.0f, 15.0f}, codes);
    store_nibbles(codes, block->qs);
    block->qh = fifth_bits(codes);
  }
}

void encode_q4_1(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  BlockQ4_1* block = blocks_as<BlockQ4_1>(blocks);
  const double rms = row_rms(x, n);
  for (int64_t i = 0; i < n; i += kSmallBlock, ++block) {
    uint8_t codes[kSmallBlock];
    const HalfAffine half = encode_affine(x + i, importance != nullptr ? importance + i : nullptr, rms, 15.0f, codes);
    block->d = half.d;
    block->m = half.m;
    store_nibbles(codes, block->qs);
  }
}

void encode_q5_1(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  BlockQ5_1* block = blocks_as<BlockQ5_1>(blocks);
  const double rms = row_rms(x, n);
  for (int64_t i = 0; i < n; i += kSmallBlock, ++block) {
    uint8_t codes[kSmallBlock];
    const HalfAffine half = encode_affine(x + i, importance != nullptr ? importance + i : nullptr, rms, 31.0f, codes);
    block->d = half.d;
    block->m = half.m;
    store_nibbles(codes, block->qs);
    block->qh = fifth_bits(codes);
  }
}

}  // namespace thimble
