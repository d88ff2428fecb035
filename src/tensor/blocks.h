// Byte layouts of the quantized blocks (ggml-common.h of llama.cpp v0.5.0; the last four are Thimble's own) and the
// helpers to take their scales apart. All fields are little-endian. The structs are packed to alignment 1: a mapped
// file only promises 32-byte alignment of the tensor, and rows of 110- or 210-byte blocks start anywhere. Half
// precision fields are raw bits (base/float16.h). The helpers are `static` on purpose: kernel files with other
// instruction-set flags include this header, and a function with external linkage compiled there could be the one copy
// that the linker keeps for everybody.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace thimble {

static_assert(std::endian::native == std::endian::little, "blocks are read in place and are little-endian");

inline constexpr int kSmallBlock = 32;   // elements of a legacy block and of IQ4_NL
inline constexpr int kSuperBlock = 256;  // elements of a K-quant block and of IQ4_XS

struct [[gnu::packed]] BlockQ8_0 {  // value d * qs[j]
  uint16_t d;
  int8_t qs[32];
};
struct [[gnu::packed]] BlockQ4_0 {  // value d * (q - 8); low nibble of qs[j] is element j, high nibble is j + 16
  uint16_t d;
  uint8_t qs[16];
};
struct [[gnu::packed]] BlockQ4_1 {  // value d * q + m; nibbles as Q4_0
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];
};
struct [[gnu::packed]] BlockQ5_0 {  // value d * (q - 16); nibbles as Q4_0, bit j of qh is the fifth bit of element j
  uint16_t d;
  uint32_t qh;
  uint8_t qs[16];
};
struct [[gnu::packed]] BlockQ5_1 {  // value d * q + m; bits as Q5_0
  uint16_t d;
  uint16_t m;
  uint32_t qh;
  uint8_t qs[16];
};
struct [[gnu::packed]] BlockIQ4_NL {  // value d * kIq4Values[q]; nibbles as Q4_0
  uint16_t d;
  uint8_t qs[16];
};
// Q2_K: 16 sub-blocks of 16; value d * (scales[s] & 15) * q - dmin * (scales[s] >> 4). Per 128 elements 32 bytes of qs:
// bits 2k and 2k+1 of byte l are element 32 k + l.
struct [[gnu::packed]] BlockQ2K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;
  uint16_t dmin;
};
// Q3_K: 16 sub-blocks of 16; value d * (scale - 32) * (q - 4), q = two bits of qs (as Q2_K) + 4 * bit e / 32 of hmask[e
// % 32].
struct [[gnu::packed]] BlockQ3K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
};
// Q4_K: 8 sub-blocks of 32; value d * scale * q - dmin * min. Per 64 elements 32 bytes of qs: low nibbles are the first
// sub-block, high nibbles the second.
struct [[gnu::packed]] BlockQ4K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};
struct [[gnu::packed]] BlockQ5K {  // as Q4_K; bit s of qh[l] is the fifth bit of element l of sub-block s
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
// Q6_K: 16 sub-blocks of 16; value d * scales[s] * (q - 32). Per 128 elements 64 bytes of ql and 32 of qh: element l,
// l+32, l+64, l+96 (l < 32) take the low nibbles of ql[l], ql[l+32], then the high nibbles of the same, and bits 0-1,
// 2-3, 4-5, 6-7 of qh[l].
struct [[gnu::packed]] BlockQ6K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};
// IQ4_XS: 8 sub-blocks of 32; value d * (scale - 32) * kIq4Values[q]; 16 bytes of qs per sub-block, nibbles as Q4_0.
struct [[gnu::packed]] BlockIQ4_XS {
  uint16_t d;
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};

// Groups of 64 and 128 (Thimble's own types): value d * q + m. Per 32 elements 16 bytes of qs, nibbles as Q4_0. Of the
// n = kElems / 8 bytes of qh, bit e / n of byte e % n is the fifth bit of element e: four neighbouring elements have it
// at the same place of four neighbouring bytes, so that kernels move it by one shift.
struct [[gnu::packed]] BlockI4_G64 {
  static constexpr int kElems = 64;
  uint16_t d;
  uint16_t m;
  uint8_t qs[32];
};
struct [[gnu::packed]] BlockI4_G128 {
  static constexpr int kElems = 128;
  uint16_t d;
  uint16_t m;
  uint8_t qs[64];
};
struct [[gnu::packed]] BlockI5_G64 {
  static constexpr int kElems = 64;
  uint16_t d;
  uint16_t m;
  uint8_t qh[8];
  uint8_t qs[32];
};
struct [[gnu::packed]] BlockI5_G128 {
  static constexpr int kElems = 128;
  uint16_t d;
  uint16_t m;
  uint8_t qh[16];
  uint8_t qs[64];
};

static_assert(sizeof(BlockQ8_0) == 34 && alignof(BlockQ8_0) == 1);
static_assert(sizeof(BlockQ4_0) == 18);
static_assert(sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockIQ4_NL) == 18);
static_assert(sizeof(BlockQ2K) == 84);
static_assert(sizeof(BlockQ3K) == 110);
static_assert(sizeof(BlockQ4K) == 144);
static_assert(sizeof(BlockQ5K) == 176);
static_assert(sizeof(BlockQ6K) == 210);
static_assert(sizeof(BlockIQ4_XS) == 136);
static_assert(sizeof(BlockI4_G64) == 36);
static_assert(sizeof(BlockI4_G128) == 68);
static_assert(sizeof(BlockI5_G64) == 44);
static_assert(sizeof(BlockI5_G128) == 84);
static_assert(std::is_trivially_copyable_v<BlockQ4K> && std::is_standard_layout_v<BlockQ4K>);

/// The blocks that start at `bytes`, of any alignment.
template <typename Block>
static inline const Block* blocks_as(const std::byte* bytes) noexcept {
  static_assert(alignof(Block) == 1);
  return reinterpret_cast<const Block*>(bytes);
}
template <typename Block>
static inline Block* blocks_as(std::byte* bytes) noexcept {
  static_assert(alignof(Block) == 1);
  return reinterpret_cast<Block*>(bytes);
}

/// Code of element `e` of a group block, as d and m multiply it.
template <typename Block>
static inline int group_code(const Block& block, int e) noexcept {
  const int byte = block.qs[e / 32 * 16 + e % 16];
  int code = e % 32 < 16 ? byte & 15 : byte >> 4;
  if constexpr (requires { block.qh; }) {
    constexpr int kBytes = Block::kElems / 8;
    code |= ((block.qh[e % kBytes] >> (e / kBytes)) & 1) << 4;
  }
  return code;
}

/// The inverse: writes all codes [Block::kElems].
template <typename Block>
static inline void set_group_codes(const uint8_t* codes, Block& block) noexcept {
  for (int i = 0; i < Block::kElems / 2; ++i) {
    const int e = i / 16 * 32 + i % 16;
    block.qs[i] = static_cast<uint8_t>((codes[e] & 15) | ((codes[e + 16] & 15) << 4));
  }
  if constexpr (requires { block.qh; }) {
    constexpr int kBytes = Block::kElems / 8;
    for (int i = 0; i < kBytes; ++i) {
      int bits = 0;
      for (int b = 0; b < 8; ++b) bits |= (codes[b * kBytes + i] >> 4) << b;
      block.qh[i] = static_cast<uint8_t>(bits);
    }
  }
}

/// The 16 levels of IQ4_NL and IQ4_XS, sorted.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// 6-bit scale and min of one sub-block of Q4_K or Q5_K.
struct ScaleMin {
  uint8_t scale;
  uint8_t min;
};

/// Scale and min of sub-block `s` (0..7) from the 12 packed bytes of Q4_K and Q5_K.
static inline ScaleMin unpack_scale_min(const uint8_t* scales, int s) noexcept {
  if (s < 4) return {static_cast<uint8_t>(scales[s] & 63), static_cast<uint8_t>(scales[s + 4] & 63)};
  return {static_cast<uint8_t>((scales[s + 4] & 15) | ((scales[s - 4] >> 6) << 4)),
          static_cast<uint8_t>((scales[s + 4] >> 4) | ((scales[s] >> 6) << 4))};
}

/// Packs eight 6-bit scales and mins into the 12 bytes of Q4_K and Q5_K.
static inline void pack_scale_min(const uint8_t* sub_scales, const uint8_t* sub_mins, uint8_t* scales) noexcept {
  for (int s = 0; s < 4; ++s) {
    scales[s] = static_cast<uint8_t>(sub_scales[s] | ((sub_scales[s + 4] >> 4) << 6));
    scales[s + 4] = static_cast<uint8_t>(sub_mins[s] | ((sub_mins[s + 4] >> 4) << 6));
    scales[s + 8] = static_cast<uint8_t>((sub_scales[s + 4] & 15) | ((sub_mins[s + 4] & 15) << 4));
  }
}

/// Scale (-32..31) of sub-block `s` (0..15) from the 12 packed bytes of Q3_K.
static inline int unpack_q3_scale(const uint8_t* scales, int s) noexcept {
  const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
  const int high = (scales[8 + s % 4] >> (2 * (s / 4))) & 3;
  return (low | (high << 4)) - 32;
}

/// Packs sixteen scales (-32..31) into the 12 bytes of Q3_K.
static inline void pack_q3_scales(const int8_t* sub_scales, uint8_t* scales) noexcept {
  for (int i = 0; i < 12; ++i) scales[i] = 0;
  for (int s = 0; s < 16; ++s) {
    const int code = sub_scales[s] + 32;
    scales[s % 8] = static_cast<uint8_t>(scales[s % 8] | ((code & 15) << (s < 8 ? 0 : 4)));
    scales[8 + s % 4] = static_cast<uint8_t>(scales[8 + s % 4] | ((code >> 4) << (2 * (s / 4))));
  }
}

/// Scale (-32..31) of sub-block `s` (0..7) of IQ4_XS.
static inline int unpack_iq4_scale(const BlockIQ4_XS& block, int s) noexcept {
  const int low = (block.scales_l[s / 2] >> (4 * (s % 2))) & 15;
  const int high = (block.scales_h >> (2 * s)) & 3;
  return (low | (high << 4)) - 32;
}

}  // namespace thimble
