// The reference matmul: unpacks one block of weights to integers and multiplies it by every column. Written for
// clarity; the formulas here define what the kernels of every instruction set compute, down to the order of float
// operations. Everything is in an anonymous namespace: each kernel file has its own copy.
#pragma once

#include <cstring>

#include "base/float16.h"
#include "kernels/matmul_args.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

/// One block of 32 weights: value d * q + m.
struct UnpackedBlock {
  int q[32];
  float d;
  float m;
};

/// One super-block of 256 weights: value d * scale[i / 16] * q - dmin * min[i / 16].
struct UnpackedSuper {
  int q[256];
  int scale[16];
  int min[16];
  float d;
  float dmin;
};

template <typename Block>
Block load_block(const std::byte* row, int64_t index) noexcept {
  Block block;
  std::memcpy(&block, row + static_cast<size_t>(index) * sizeof(Block), sizeof(Block));
  return block;
}

inline const ActivationGroup* activation_row(const MatmulArgs& a, int64_t c) noexcept {
  return reinterpret_cast<const ActivationGroup*>(a.x + static_cast<size_t>(c) * a.x_stride);
}

// Block types: acc += dx * (dw * sum(q x) + mw * sum(x)), block after block.
template <typename Block, UnpackedBlock (*unpack)(const Block&) noexcept>
void matmul_block_scalar(const MatmulArgs& a) noexcept {
  for (int64_t r = 0; r < a.n_rows; ++r) {
    for (int64_t c = 0; c < a.n_cols; ++c) a.out[static_cast<size_t>(c) * a.out_stride + static_cast<size_t>(r)] = 0.0f;
    const std::byte* row = a.weights + static_cast<size_t>(r) * a.weight_stride;
    for (int64_t b = 0; b < a.k / kSmallBlock; ++b) {
      const UnpackedBlock w = unpack(load_block<Block>(row, b));
      for (int64_t c = 0; c < a.n_cols; ++c) {
        const ActivationGroup& x = activation_row(a, c)[b / 8];
        const int64_t s = b % 8;
        int dot = 0;
        for (int i = 0; i < 32; ++i) dot += w.q[i] * x.q[32 * s + i];
        const int sum = x.sums[2 * s] + x.sums[2 * s + 1];
        float& acc = a.out[static_cast<size_t>(c) * a.out_stride + static_cast<size_t>(r)];
        acc += x.d[s] * (w.d * static_cast<float>(dot) + w.m * static_cast<float>(sum));
      }
    }
  }
}

// Group types, of `n` blocks of 32 each: acc += d * sum(dx dot) + m * sum(dx sum of x), group after group; the products
// of the blocks are added one after the other, the sums of x in pairs.
template <typename Block>
void matmul_group_scalar(const MatmulArgs& a) noexcept {
  constexpr int kSubs = Block::kElems / 32;
  for (int64_t r = 0; r < a.n_rows; ++r) {
    for (int64_t c = 0; c < a.n_cols; ++c) a.out[static_cast<size_t>(c) * a.out_stride + static_cast<size_t>(r)] = 0.0f;
    const std::byte* row = a.weights + static_cast<size_t>(r) * a.weight_stride;
    for (int64_t b = 0; b < a.k / Block::kElems; ++b) {
      const Block w = load_block<Block>(row, b);
      int q[Block::kElems];
      for (int e = 0; e < Block::kElems; ++e) q[e] = group_code(w, e);
      const float d = f16_to_f32(w.d);
      const float m = f16_to_f32(w.m);
      for (int64_t c = 0; c < a.n_cols; ++c) {
        const ActivationGroup& x = activation_row(a, c)[b * Block::kElems / 256];
        const int first = static_cast<int>(b * Block::kElems % 256);
        float dots = 0.0f;
        float sums[4] = {};
        for (int s = 0; s < kSubs; ++s) {
          int dot = 0;
          for (int i = 0; i < 32; ++i) dot += q[32 * s + i] * x.q[first + 32 * s + i];
          const int at = first / 32 + s;
          const float scaled = x.d[at] * static_cast<float>(dot);
          dots = s == 0 ? scaled : dots + scaled;
          sums[s] = x.d[at] * static_cast<float>(x.sums[2 * at] + x.sums[2 * at + 1]);
        }
        const float sum = kSubs == 2 ? sums[0] + sums[1] : (sums[0] + sums[1]) + (sums[2] + sums[3]);
        float& acc = a.out[static_cast<size_t>(c) * a.out_stride + static_cast<size_t>(r)];
        acc += d * dots + m * sum;
      }
    }
  }
}

// Super-block types: acc += dx * (d * sum(scale q x) - dmin * sum(min x)), super-block after super-block.
template <typename Block, void (*unpack)(const Block&, UnpackedSuper&) noexcept>
void matmul_super_scalar(const MatmulArgs& a) noexcept {
  UnpackedSuper w;
  for (int64_t r = 0; r < a.n_rows; ++r) {
    for (int64_t c = 0; c < a.n_cols; ++c) a.out[static_cast<size_t>(c) * a.out_stride + static_cast<size_t>(r)] = 0.0f;
    const std::byte* row = a.weights + static_cast<size_t>(r) * a.weight_stride;
    for (int64_t b = 0; b < a.k / kSuperBlock; ++b) {
      unpack(load_block<Block>(row, b), w);
      for (int64_t c = 0; c < a.n_cols; ++c) {
        const ActivationGroup& x = activation_row(a, c)[b];
        int scaled = 0;
        int mins = 0;
        for (int s = 0; s < 16; ++s) {
          int dot = 0;
          for (int i = 0; i < 16; ++i) dot += w.q[16 * s + i] * x.q[16 * s + i];
          scaled += w.scale[s] * dot;
          mins += w.min[s] * x.sums[s];
        }
        float& acc = a.out[static_cast<size_t>(c) * a.out_stride + static_cast<size_t>(r)];
        acc += x.d[0] * (w.d * static_cast<float>(scaled) - w.dmin * static_cast<float>(mins));
      }
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
