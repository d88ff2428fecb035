// Packing of codes and scales into the bytes of each block type and back: the bit layouts of blocks.h, once more as
// store and load of tensor/grid.h. static for the reason given in blocks.h: kernel files pack with wider instructions.
#pragma once

#include <cstring>

#include "base/float16.h"
#include "tensor/blocks.h"
#include "tensor/grid.h"

namespace thimble {

static inline uint8_t low_byte(int value) noexcept {
  return static_cast<uint8_t>(value);
}

// ---- pieces of layouts

/// Low nibbles are codes 0..half-1, high nibbles codes half..2 half-1.
static inline void pack_nibbles(const uint8_t* codes, int half, uint8_t* qs) noexcept {
  for (int j = 0; j < half; ++j) qs[j] = low_byte((codes[j] & 15) | (codes[j + half] << 4));
}

static inline void unpack_nibbles(const uint8_t* qs, int half, uint8_t* codes) noexcept {
  for (int j = 0; j < half; ++j) {
    codes[j] = qs[j] & 15;
    codes[j + half] = qs[j] >> 4;
  }
}

/// Bit j is the fifth bit of code j.
static inline uint32_t pack_fifth_bits(const uint8_t* codes) noexcept {
  uint32_t bits = 0;
  for (int j = 0; j < 32; ++j) bits |= static_cast<uint32_t>((codes[j] >> 4) & 1) << j;
  return bits;
}

static inline void add_fifth_bits(uint32_t bits, uint8_t* codes) noexcept {
  for (int j = 0; j < 32; ++j) codes[j] = low_byte(codes[j] | static_cast<int>((bits >> j) & 1u) << 4);
}

/// Q2_K and Q3_K: two bits of 128 codes to 32 bytes.
static inline void pack_pairs(const uint8_t* codes, uint8_t* qs) noexcept {
  for (int l = 0; l < 32; ++l) {
    qs[l] =
        low_byte((codes[l] & 3) | ((codes[l + 32] & 3) << 2) | ((codes[l + 64] & 3) << 4) | ((codes[l + 96] & 3) << 6));
  }
}

static inline void unpack_pairs(const uint8_t* qs, uint8_t* codes) noexcept {
  for (int part = 0; part < 4; ++part) {
    for (int l = 0; l < 32; ++l) codes[32 * part + l] = (qs[l] >> (2 * part)) & 3;
  }
}

/// Bit `part` of bits[l] is bit `kBit` of code 32 * part + l.
template <int kBit>
static inline void pack_bit_planes(const uint8_t* codes, uint8_t* bits) noexcept {
  for (int l = 0; l < 32; ++l) {
    int byte = 0;
    for (int part = 0; part < 8; ++part) byte |= ((codes[32 * part + l] >> kBit) & 1) << part;
    bits[l] = low_byte(byte);
  }
}

template <int kBit>
static inline void add_bit_planes(const uint8_t* bits, uint8_t* codes) noexcept {
  for (int part = 0; part < 8; ++part) {
    for (int l = 0; l < 32; ++l) {
      codes[32 * part + l] = low_byte(codes[32 * part + l] | ((bits[l] >> part) & 1) << kBit);
    }
  }
}

// ---- whole blocks: pack(grid, codes, block) and unpack(block, grid, codes)

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ8_0& block) noexcept {
  block.d = grid.d;
  for (int j = 0; j < 32; ++j) block.qs[j] = static_cast<int8_t>(codes[j] - 128);
}
static inline void unpack(const BlockQ8_0& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  for (int j = 0; j < 32; ++j) codes[j] = low_byte(block.qs[j] + 128);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ4_0& block) noexcept {
  block.d = grid.d;
  pack_nibbles(codes, 16, block.qs);
}
static inline void unpack(const BlockQ4_0& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  unpack_nibbles(block.qs, 16, codes);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ4_1& block) noexcept {
  block.d = grid.d;
  block.m = grid.m;
  pack_nibbles(codes, 16, block.qs);
}
static inline void unpack(const BlockQ4_1& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  grid.m = block.m;
  unpack_nibbles(block.qs, 16, codes);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ5_0& block) noexcept {
  block.d = grid.d;
  block.qh = pack_fifth_bits(codes);
  pack_nibbles(codes, 16, block.qs);
}
static inline void unpack(const BlockQ5_0& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  unpack_nibbles(block.qs, 16, codes);
  add_fifth_bits(block.qh, codes);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ5_1& block) noexcept {
  block.d = grid.d;
  block.m = grid.m;
  block.qh = pack_fifth_bits(codes);
  pack_nibbles(codes, 16, block.qs);
}
static inline void unpack(const BlockQ5_1& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  grid.m = block.m;
  unpack_nibbles(block.qs, 16, codes);
  add_fifth_bits(block.qh, codes);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockIQ4_NL& block) noexcept {
  block.d = grid.d;
  pack_nibbles(codes, 16, block.qs);
}
static inline void unpack(const BlockIQ4_NL& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  unpack_nibbles(block.qs, 16, codes);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ2K& block) noexcept {
  block.d = grid.d;
  block.dmin = grid.m;
  for (int s = 0; s < 16; ++s) block.scales[s] = low_byte((grid.sub_scale[s] & 15) | (grid.sub_min[s] << 4));
  for (int half = 0; half < 2; ++half) pack_pairs(codes + 128 * half, block.qs + 32 * half);
}
static inline void unpack(const BlockQ2K& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  grid.m = block.dmin;
  for (int s = 0; s < 16; ++s) {
    grid.sub_scale[s] = block.scales[s] & 15;
    grid.sub_min[s] = block.scales[s] >> 4;
  }
  for (int half = 0; half < 2; ++half) unpack_pairs(block.qs + 32 * half, codes + 128 * half);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ3K& block) noexcept {
  block.d = grid.d;
  int8_t scales[16];
  for (int s = 0; s < 16; ++s) scales[s] = static_cast<int8_t>(grid.sub_scale[s] - 32);
  pack_q3_scales(scales, block.scales);
  pack_bit_planes<2>(codes, block.hmask);
  for (int half = 0; half < 2; ++half) pack_pairs(codes + 128 * half, block.qs + 32 * half);
}
static inline void unpack(const BlockQ3K& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  for (int s = 0; s < 16; ++s) grid.sub_scale[s] = low_byte(unpack_q3_scale(block.scales, s) + 32);
  for (int half = 0; half < 2; ++half) unpack_pairs(block.qs + 32 * half, codes + 128 * half);
  add_bit_planes<2>(block.hmask, codes);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ4K& block) noexcept {
  block.d = grid.d;
  block.dmin = grid.m;
  pack_scale_min(grid.sub_scale, grid.sub_min, block.scales);
  for (int part = 0; part < 4; ++part) pack_nibbles(codes + 64 * part, 32, block.qs + 32 * part);
}
static inline void unpack(const BlockQ4K& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  grid.m = block.dmin;
  for (int s = 0; s < 8; ++s) {
    const ScaleMin packed = unpack_scale_min(block.scales, s);
    grid.sub_scale[s] = packed.scale;
    grid.sub_min[s] = packed.min;
  }
  for (int part = 0; part < 4; ++part) unpack_nibbles(block.qs + 32 * part, 32, codes + 64 * part);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ5K& block) noexcept {
  block.d = grid.d;
  block.dmin = grid.m;
  pack_scale_min(grid.sub_scale, grid.sub_min, block.scales);
  pack_bit_planes<4>(codes, block.qh);
  for (int part = 0; part < 4; ++part) pack_nibbles(codes + 64 * part, 32, block.qs + 32 * part);
}
static inline void unpack(const BlockQ5K& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  grid.m = block.dmin;
  for (int s = 0; s < 8; ++s) {
    const ScaleMin packed = unpack_scale_min(block.scales, s);
    grid.sub_scale[s] = packed.scale;
    grid.sub_min[s] = packed.min;
  }
  for (int part = 0; part < 4; ++part) unpack_nibbles(block.qs + 32 * part, 32, codes + 64 * part);
  add_bit_planes<4>(block.qh, codes);
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockQ6K& block) noexcept {
  block.d = grid.d;
  std::memcpy(block.scales, grid.sub_scale, sizeof(block.scales));
  for (int half = 0; half < 2; ++half) {
    const uint8_t* c = codes + 128 * half;
    for (int l = 0; l < 64; ++l) block.ql[64 * half + l] = low_byte((c[l] & 15) | (c[l + 64] << 4));
    for (int l = 0; l < 32; ++l) {
      block.qh[32 * half + l] =
          low_byte((c[l] >> 4) | ((c[l + 32] >> 4) << 2) | ((c[l + 64] >> 4) << 4) | ((c[l + 96] >> 4) << 6));
    }
  }
}
static inline void unpack(const BlockQ6K& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  std::memcpy(grid.sub_scale, block.scales, sizeof(block.scales));
  for (int half = 0; half < 2; ++half) {
    uint8_t* c = codes + 128 * half;
    unpack_nibbles(block.ql + 64 * half, 64, c);
    for (int part = 0; part < 4; ++part) {
      for (int l = 0; l < 32; ++l) {
        c[32 * part + l] = low_byte(c[32 * part + l] | ((block.qh[32 * half + l] >> (2 * part)) & 3) << 4);
      }
    }
  }
}

static inline void pack(const BlockGrid& grid, const uint8_t* codes, BlockIQ4_XS& block) noexcept {
  block.d = grid.d;
  int scales_h = 0;
  for (int s = 0; s < 8; s += 2) {
    const int even = grid.sub_scale[s];
    const int odd = grid.sub_scale[s + 1];
    block.scales_l[s / 2] = low_byte((even & 15) | (odd << 4));
    scales_h |= (even >> 4) << (2 * s) | (odd >> 4) << (2 * s + 2);
  }
  block.scales_h = static_cast<uint16_t>(scales_h);
  for (int s = 0; s < 8; ++s) pack_nibbles(codes + 32 * s, 16, block.qs + 16 * s);
}
static inline void unpack(const BlockIQ4_XS& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  for (int s = 0; s < 8; ++s) grid.sub_scale[s] = low_byte(unpack_iq4_scale(block, s) + 32);
  for (int s = 0; s < 8; ++s) unpack_nibbles(block.qs + 16 * s, 16, codes + 32 * s);
}

// The group types; see blocks.h.
template <typename Block>
requires(Block::kElems > 0) static inline void pack(const BlockGrid& grid, const uint8_t* codes,
                                                    Block& block) noexcept {
  block.d = grid.d;
  block.m = grid.m;
  set_group_codes(codes, block);
}
template <typename Block>
requires(Block::kElems > 0) static inline void unpack(const Block& block, BlockGrid& grid, uint8_t* codes) noexcept {
  grid.d = block.d;
  grid.m = block.m;
  for (int e = 0; e < Block::kElems; ++e) codes[e] = low_byte(group_code(block, e));
}

// ---- levels

/// What the stored scales of a block mean.
enum class ScaleForm : uint8_t {
  d,                // scale = d
  d_m,              // scale = d, offset = m
  sub_scales,       // scale = d * (sub_scale - bias)
  sub_scales_i8,    // the same, sub_scale being the bits of an int8
  sub_scales_mins,  // scale = d * sub_scale, offset = -(dmin * sub_min)
};

template <typename BlockType, ScaleForm form, int subs, int bias = 0>
struct StoredBlock {
  using Block = BlockType;
  static constexpr ScaleForm kForm = form;
  static constexpr int kSubs = subs;
  static constexpr int kBias = bias;
};

/// How a type is stored: the block and the meaning of its scales.
template <TensorType>
struct StoredAs;
template <>
struct StoredAs<TensorType::q8_0> : StoredBlock<BlockQ8_0, ScaleForm::d, 1> {};
template <>
struct StoredAs<TensorType::q4_0> : StoredBlock<BlockQ4_0, ScaleForm::d, 1> {};
template <>
struct StoredAs<TensorType::q4_1> : StoredBlock<BlockQ4_1, ScaleForm::d_m, 1> {};
template <>
struct StoredAs<TensorType::q5_0> : StoredBlock<BlockQ5_0, ScaleForm::d, 1> {};
template <>
struct StoredAs<TensorType::q5_1> : StoredBlock<BlockQ5_1, ScaleForm::d_m, 1> {};
template <>
struct StoredAs<TensorType::q2_k> : StoredBlock<BlockQ2K, ScaleForm::sub_scales_mins, 16> {};
template <>
struct StoredAs<TensorType::q3_k> : StoredBlock<BlockQ3K, ScaleForm::sub_scales, 16, 32> {};
template <>
struct StoredAs<TensorType::q4_k> : StoredBlock<BlockQ4K, ScaleForm::sub_scales_mins, 8> {};
template <>
struct StoredAs<TensorType::q5_k> : StoredBlock<BlockQ5K, ScaleForm::sub_scales_mins, 8> {};
template <>
struct StoredAs<TensorType::q6_k> : StoredBlock<BlockQ6K, ScaleForm::sub_scales_i8, 16> {};
template <>
struct StoredAs<TensorType::iq4_nl> : StoredBlock<BlockIQ4_NL, ScaleForm::d, 1> {};
template <>
struct StoredAs<TensorType::iq4_xs> : StoredBlock<BlockIQ4_XS, ScaleForm::sub_scales, 8, 32> {};
template <>
struct StoredAs<TensorType::i4_g64> : StoredBlock<BlockI4_G64, ScaleForm::d_m, 1> {};
template <>
struct StoredAs<TensorType::i4_g128> : StoredBlock<BlockI4_G128, ScaleForm::d_m, 1> {};
template <>
struct StoredAs<TensorType::i5_g64> : StoredBlock<BlockI5_G64, ScaleForm::d_m, 1> {};
template <>
struct StoredAs<TensorType::i5_g128> : StoredBlock<BlockI5_G128, ScaleForm::d_m, 1> {};

/// GridTraits::derive.
template <TensorType kType>
static inline void derive_grid(BlockGrid& grid) noexcept {
  using Stored = StoredAs<kType>;
  constexpr ScaleForm kForm = Stored::kForm;
  const float d = f16_to_f32(grid.d);
  const float m = f16_to_f32(grid.m);
  for (int s = 0; s < Stored::kSubs; ++s) {
    grid.scale[s] = d;
    grid.offset[s] = -0.0f;
    if constexpr (kForm == ScaleForm::sub_scales_i8) {
      grid.scale[s] = d * static_cast<float>(static_cast<int8_t>(grid.sub_scale[s]));
    } else if constexpr (kForm == ScaleForm::sub_scales || kForm == ScaleForm::sub_scales_mins) {
      grid.scale[s] = d * static_cast<float>(grid.sub_scale[s] - Stored::kBias);
    }
    if constexpr (kForm == ScaleForm::d_m) grid.offset[s] = m;
    if constexpr (kForm == ScaleForm::sub_scales_mins) grid.offset[s] = -(m * static_cast<float>(grid.sub_min[s]));
    grid.inverse[s] = grid.scale[s] != 0.0f ? 1.0f / grid.scale[s] : 0.0f;
  }
  for (int s = Stored::kSubs; s < kMaxSubBlocks; ++s) grid.scale[s] = grid.offset[s] = grid.inverse[s] = 0.0f;
}

}  // namespace thimble
