// Scale searches of one block. After the searches of ggml-quants.c (llama.cpp v0.5.0), with these differences: all
// types search without importance too, with equal weights; stored sub-scales and mins are chosen by the error that
// codes really have, among the nearest values and their neighbours (the idea of ik_llama.cpp pull request 624).
#include "tensor/grid_fit.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "base/float16.h"
#include "tensor/blocks.h"
#include "tensor/encode_input.h"
#include "tensor/scale_search.h"

namespace thimble {

namespace {

// One block, normalized, with its weights.
template <int N>
struct BlockInput {
  float x[N];
  float w[N];
  float magnitude;  // the input was x * magnitude

  // `sigma2` in mean squares of the block, see favor_large_elements; 0: importance alone.
  bool load(const float* input, const float* importance, float sigma2) noexcept {
    magnitude = normalize_block(input, N, x);
    if (magnitude == 0.0f) return false;
    fill_weights(importance, N, w);
    if (sigma2 > 0.0f) favor_large_elements(x, N, sigma2 * mean_square(x, N), w);
    return true;
  }

  // Value of half precision bits in units of the normalized block.
  float relative(uint16_t half) const noexcept { return f16_to_f32(half) / magnitude; }
};

// A grid of zeros whose stored sub-scales are those of scale 0.
void clear(BlockGrid* grid, TensorType type, uint8_t bias = 0) noexcept {
  const GridTraits& row = *find_grid(type);
  *grid = {};
  std::fill(grid->sub_scale, grid->sub_scale + row.block_elems / row.sub_elems, bias);
  row.derive(grid);
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

void fit_symmetric(TensorType type, CodeRange range, const float* x, const float* importance,
                   BlockGrid* grid) noexcept {
  clear(grid, type);
  BlockInput<kSmallBlock> block;
  if (!block.load(x, importance, 1.0f)) return;
  const float fit = fit_scale<kSmallBlock>(block.x, block.w, range) * block.magnitude;
  grid->d = best_neighbour(scale_to_f16(fit), [&](uint16_t half) {
    return rounding_error<kSmallBlock>(block.x, block.w, {block.relative(half), 0.0f}, range);
  });
  find_grid(type)->derive(grid);
}

template <int N>
void fit_offset(TensorType type, float max_code, const float* x, const float* importance, BlockGrid* grid) noexcept {
  clear(grid, type);
  BlockInput<N> block;
  if (!block.load(x, importance, 1.0f)) return;
  const AffineFit fit = fit_affine<N>(block.x, block.w, max_code, OffsetSign::any);
  grid->m = scale_to_f16(fit.offset * block.magnitude);
  grid->d = best_neighbour(scale_to_f16(fit.scale * block.magnitude), [&](uint16_t d) {
    const AffineFit stored = {block.relative(d), block.relative(grid->m)};
    return rounding_error<N>(block.x, block.w, stored, {0.0f, max_code});
  });
  find_grid(type)->derive(grid);
}

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
void fit_affine_super(TensorType type, AffineLimits limits, const float* x, const float* importance,
                      BlockGrid* grid) noexcept {
  constexpr int kElems = kSuperBlock / kSubs;
  clear(grid, type);
  BlockInput<kSuperBlock> block;
  if (!block.load(x, importance, limits.sigma2)) return;
  AffineFit fits[kSubs];
  float scales[kSubs];
  float mins[kSubs];
  float sub_weights[kSubs];
  for (int s = 0; s < kSubs; ++s) {
    const float* w = block.w + kElems * s;
    fits[s] = fit_affine<kElems>(block.x + kElems * s, w, limits.max_code, OffsetSign::not_positive);
    scales[s] = fits[s].scale;
    mins[s] = -fits[s].offset;
    sub_weights[s] = 0.0f;
    for (int i = 0; i < kElems; ++i) sub_weights[s] += w[i];
  }
  const CodeRange stored = {0.0f, limits.max_scale};
  grid->d = super_scale_to_f16(fit_scale<kSubs>(scales, sub_weights, stored) * block.magnitude);
  grid->m = super_scale_to_f16(fit_scale<kSubs>(mins, sub_weights, stored) * block.magnitude);
  // In units of the normalized block; the min is subtracted.
  const AffineFit unit = {block.relative(grid->d), -block.relative(grid->m)};
  for (int s = 0; s < kSubs; ++s) {
    const ScaleMin chosen = choose_scale_min<kElems>(block.x + kElems * s, block.w + kElems * s, fits[s], unit, limits);
    grid->sub_scale[s] = chosen.scale;
    grid->sub_min[s] = chosen.min;
  }
  find_grid(type)->derive(grid);
}

// Super-blocks with signed sub-scales and no mins: Q3_K, Q6_K, IQ4_XS.
struct SignedScales {
  CodeRange scales;  // of stored sub-scales
  int bias;          // added to them when stored
  float sigma2;      // see favor_large_elements; at 6 bits ggml uses plain importance
};

template <int kSubs, typename Fit, typename ErrorOf>
void fit_signed_super(TensorType type, SignedScales limits, const float* x, const float* importance, Fit fit,
                      ErrorOf error_of, BlockGrid* grid) noexcept {
  constexpr int kElems = kSuperBlock / kSubs;
  clear(grid, type, static_cast<uint8_t>(limits.bias));
  BlockInput<kSuperBlock> block;
  if (!block.load(x, importance, limits.sigma2)) return;
  float fits[kSubs];
  float sub_weights[kSubs];
  for (int s = 0; s < kSubs; ++s) {
    const float* w = block.w + kElems * s;
    fits[s] = fit(block.x + kElems * s, w);
    sub_weights[s] = 0.0f;
    for (int i = 0; i < kElems; ++i) sub_weights[s] += w[i];
  }
  grid->d = super_scale_to_f16(fit_scale<kSubs>(fits, sub_weights, limits.scales) * block.magnitude);
  const float unit = block.relative(grid->d);
  for (int s = 0; s < kSubs; ++s) {
    const float nearest_scale = nearest_code(fits[s] * inverse_or_zero(unit), limits.scales);
    float best = nearest_scale;
    float best_error = error_of(block.x + kElems * s, block.w + kElems * s, unit * best);
    for (const float scale : {nearest_scale - 1.0f, nearest_scale + 1.0f}) {
      if (scale < limits.scales.low || scale > limits.scales.high) continue;
      const float error = error_of(block.x + kElems * s, block.w + kElems * s, unit * scale);
      if (error < best_error) {
        best_error = error;
        best = scale;
      }
    }
    grid->sub_scale[s] = static_cast<uint8_t>(static_cast<int>(best) + limits.bias);
  }
  find_grid(type)->derive(grid);
}

void fit_uniform_super(TensorType type, SignedScales limits, CodeRange codes, const float* x, const float* importance,
                       BlockGrid* grid) noexcept {
  fit_signed_super<16>(
      type, limits, x, importance,
      [codes](const float* sub_x, const float* w) { return fit_scale<16>(sub_x, w, codes); },
      [codes](const float* sub_x, const float* w, float scale) {
        return rounding_error<16>(sub_x, w, {scale, 0.0f}, codes);
      },
      grid);
}

}  // namespace

// As ggml, the scale puts the largest element on 127 and importance is not used: at 8 bits a search gains nothing that
// would be worth giving up decode(encode(decode(x))) == decode(x).
void fit_q8_0(const float* x, const float* /*importance*/, BlockGrid* grid) noexcept {
  clear(grid, TensorType::q8_0);
  float normal[kSmallBlock];
  const float magnitude = normalize_block(x, kSmallBlock, normal);
  float largest = 0.0f;
  for (int j = 0; j < kSmallBlock; ++j) largest = std::max(largest, std::fabs(normal[j]));
  grid->d = scale_to_f16(largest / 127.0f * magnitude);
  find_grid(TensorType::q8_0)->derive(grid);
}

void fit_q4_0(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_symmetric(TensorType::q4_0, {-8.0f, 7.0f}, x, importance, grid);
}
void fit_q5_0(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_symmetric(TensorType::q5_0, {-16.0f, 15.0f}, x, importance, grid);
}
void fit_q4_1(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_offset<kSmallBlock>(TensorType::q4_1, 15.0f, x, importance, grid);
}
void fit_q5_1(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_offset<kSmallBlock>(TensorType::q5_1, 31.0f, x, importance, grid);
}
void fit_i4_g64(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_offset<64>(TensorType::i4_g64, 15.0f, x, importance, grid);
}
void fit_i4_g128(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_offset<128>(TensorType::i4_g128, 15.0f, x, importance, grid);
}
void fit_i5_g64(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_offset<64>(TensorType::i5_g64, 31.0f, x, importance, grid);
}
void fit_i5_g128(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_offset<128>(TensorType::i5_g128, 31.0f, x, importance, grid);
}
void fit_q2_k(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_affine_super<16>(TensorType::q2_k, {3.0f, 15.0f, 1.0f}, x, importance, grid);
}
void fit_q4_k(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_affine_super<8>(TensorType::q4_k, {15.0f, 63.0f, 2.0f}, x, importance, grid);
}
void fit_q5_k(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_affine_super<8>(TensorType::q5_k, {31.0f, 63.0f, 2.0f}, x, importance, grid);
}
void fit_q3_k(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_uniform_super(TensorType::q3_k, {{-32.0f, 31.0f}, 32, 2.0f}, {-4.0f, 3.0f}, x, importance, grid);
}
void fit_q6_k(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_uniform_super(TensorType::q6_k, {{-128.0f, 127.0f}, 0, 0.0f}, {-32.0f, 31.0f}, x, importance, grid);
}

void fit_iq4_nl(const float* x, const float* importance, BlockGrid* grid) noexcept {
  clear(grid, TensorType::iq4_nl);
  BlockInput<kSmallBlock> block;
  if (!block.load(x, importance, 2.0f)) return;
  grid->d = scale_to_f16(fit_iq4_scale(block.x, block.w) * block.magnitude);
  find_grid(TensorType::iq4_nl)->derive(grid);
}

void fit_iq4_xs(const float* x, const float* importance, BlockGrid* grid) noexcept {
  fit_signed_super<8>(TensorType::iq4_xs, {{-32.0f, 31.0f}, 32, 2.0f}, x, importance, fit_iq4_scale, iq4_rounding_error,
                      grid);
}

}  // namespace thimble
