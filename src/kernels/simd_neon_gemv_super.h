// How simd_neon_gemv.h multiplies the types with super-blocks of 256. Each type says
//   kBytes   of a super-block of a panel     kSubs  sub-blocks with a scale of their own: 8 or 16
//   kHasMin  values are d * scale * q - dmin * min
//   kPlaces  1, or 3: fields are multiplied where they stand in their bytes, times 1, 4 and 16
//   header() d (and dmin), what sums start from, and the scales as bytes of each row
//   chunk()  dot products of a quarter of the super-block: 256 / kSubs / 4 steps of each of kSubs / 4 sub-blocks
//   activation(), scale()  where the activations and the scale of field j of chunk c are
// Offsets are those of the GGUF blocks in tensor/blocks.h, times 4 rows, with the odd halfword last. Steps are taken
// two at a time, and multiplied before the next are taken apart: that much fits the registers beside the masks.
#pragma once

#include "kernels/simd_neon_gemv.h"
#include "tensor/blocks.h"

namespace thimble::kernels {
namespace {

// ---- Q4_K, Q5_K: sub-block 2 c is low nibbles, 2 c + 1 high ones

struct GemvNibbles {
  static constexpr int kSubs = 8, kPlaces = 1, kScaleDwords = 2;
  static constexpr bool kHasMin = true;

  static constexpr int activation(int c, int i) noexcept { return 64 * c + 16 * i; }
  template <int c, int j>
  static int32x4_t scale(const Bytes* scales) noexcept {
    return unsigned_byte<(2 * c + j) % 4>(scales[(2 * c + j) / 4]);
  }

  // d, dmin and 6-bit scales and mins (unpack_scale_min in tensor/blocks.h, four at a time).
  static void header(const uint8_t* w, const SplitSums& x, Bytes* scales, SuperSums& s) noexcept {
    Bytes h[4];
    load_four(w, h);
    s.d = halves<0>(h[0]);
    s.dmin = halves<16>(h[0]);
    const Bytes mins[2] = {vandq_u8(h[2], bytes(63)), vsliq_n_u8(vshrq_n_u8(h[3], 4), vshrq_n_u8(h[2], 6), 4)};
    s.mins = dot_sums<8>(mins, x);
    s.scaled[0] = no_sum();
    scales[0] = vandq_u8(h[1], bytes(63));
    scales[1] = vsliq_n_u8(vandq_u8(h[3], bytes(15)), vshrq_n_u8(h[1], 6), 4);
  }
};

struct GemvQ4K : GemvNibbles {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ4K);

  template <int c>
  THIMBLE_INLINE static void chunk(const uint8_t* w, const int8x16_t* x, int32x4_t* dots) noexcept {
    unroll<0, 4>([&](auto pair) THIMBLE_INLINE {
      Bytes v[2];
      load_two(w + 64 + 128 * c + 32 * pair.value, v);
      unroll<0, 2>([&](auto i) THIMBLE_INLINE {
        constexpr int t = 2 * pair.value + i.value;
        dots[0] = dot_step<t % 4>(dots[0], vandq_u8(v[i.value], bytes(15)), x[t / 4]);
        dots[1] = dot_step<t % 4>(dots[1], vshrq_n_u8(v[i.value], 4), x[2 + t / 4]);
      });
    });
  }
};

struct GemvQ5K : GemvNibbles {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ5K);

  // Bit kBit of every byte of h to bit 4 of nibbles.
  template <int kBit>
  static Bytes with_bit(Bytes nibbles, Bytes h) noexcept {
    if constexpr (kBit == 0) return vsliq_n_u8(nibbles, vandq_u8(h, bytes(1)), 4);
    if constexpr (kBit == 7) return vsliq_n_u8(nibbles, vshrq_n_u8(h, 7), 4);
    Bytes moved = h;
    if constexpr (kBit < 4) moved = vshlq_n_u8(h, 4 - kBit);
    if constexpr (kBit > 4) moved = vshrq_n_u8(h, kBit - 4);
    return vbslq_u8(bytes(16), moved, nibbles);
  }

  template <int c>
  THIMBLE_INLINE static void chunk(const uint8_t* w, const int8x16_t* x, int32x4_t* dots) noexcept {
    unroll<0, 4>([&](auto pair) THIMBLE_INLINE {
      Bytes v[2], h[2];
      load_two(w + 64 + 32 * pair.value, h);
      load_two(w + 192 + 128 * c + 32 * pair.value, v);
      unroll<0, 2>([&](auto i) THIMBLE_INLINE {
        constexpr int t = 2 * pair.value + i.value;
        dots[1] = dot_step<t % 4>(dots[1], with_bit<2 * c + 1>(vshrq_n_u8(v[i.value], 4), h[i.value]), x[2 + t / 4]);
        // sli replaces what it does not keep, so that only other bits need a clean nibble.
        const Bytes low = c == 0 ? v[i.value] : vandq_u8(v[i.value], bytes(15));
        dots[0] = dot_step<t % 4>(dots[0], with_bit<2 * c>(low, h[i.value]), x[t / 4]);
      });
    });
  }
};

// ---- IQ4_XS

struct GemvIQ4_XS {
  static constexpr size_t kBytes = kLanes * sizeof(BlockIQ4_XS);
  static constexpr int kSubs = 8, kPlaces = 1, kScaleDwords = 2;
  static constexpr bool kHasMin = false;

  static constexpr int activation(int c, int i) noexcept { return 64 * c + 16 * i; }
  template <int c, int j>
  static int32x4_t scale(const Bytes* scales) noexcept {
    return signed_byte<c>(scales[j]);
  }

  // Scales 0, 2, 4, 6 and 1, 3, 5, 7 of each row: low nibbles in dword 1, pairs of high bits above d in dword 0.
  static void header(const uint8_t* w, const SplitSums&, Bytes* scales, SuperSums& s) noexcept {
    const Bytes first = vld1q_u8(w);
    const Bytes low = vld1q_u8(w + 16);
    s.d = halves<0>(first);
    s.scaled[0] = no_sum();
    const Bytes high = vqtbl1q_u8(first, Bytes{2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15});
    const auto to_bit_four = [&](int8_t a, int8_t b) {
      return vshlq_u8(high, int8x16_t{a, b, a, b, a, b, a, b, a, b, a, b, a, b, a, b});
    };
    const Bytes six = bytes(0x30);
    scales[0] = vsubq_u8(vbslq_u8(six, to_bit_four(4, 0), vandq_u8(low, bytes(15))), bytes(32));
    scales[1] = vsubq_u8(vbslq_u8(six, to_bit_four(2, -2), vshrq_n_u8(low, 4)), bytes(32));
  }

  template <int c>
  THIMBLE_INLINE static void chunk(const uint8_t* w, const int8x16_t* x, int32x4_t* dots) noexcept {
    const Bytes levels = iq4_table();
    unroll<0, 4>([&](auto pair) THIMBLE_INLINE {
      constexpr int sub = pair.value / 2;
      Bytes v[2];
      load_two(w + 32 + 128 * c + 32 * pair.value, v);
      unroll<0, 2>([&](auto i) THIMBLE_INLINE {
        constexpr int t = 2 * (pair.value % 2) + i.value;
        dots[sub] = dot_step<t>(dots[sub], vqtbl1q_u8(levels, vandq_u8(v[i.value], bytes(15))), x[2 * sub]);
        dots[sub] = dot_step<t>(dots[sub], vqtbl1q_u8(levels, vshrq_n_u8(v[i.value], 4)), x[2 * sub + 1]);
      });
    });
  }
};

// ---- Q6_K, Q3_K, Q2_K: 16 columns of a half of 128 elements; field j of chunk c belongs to sub-block
// 8 (c / 2) + 2 j + c % 2

struct GemvFields {
  static constexpr int kSubs = 16, kScaleDwords = 4;

  static constexpr int activation(int c, int i) noexcept { return 128 * (c / 2) + 16 * (c % 2) + 32 * i; }
  template <int c, int j>
  static int32x4_t scale(const Bytes* scales) noexcept {
    return signed_byte<c % 2 + 2 * (j % 2)>(scales[2 * (c / 2) + j / 2]);
  }
};

// Four times four 6-bit numbers from nibbles of a and b and pairs of bits of h: (a low, h 0), (b low, h 2), (a high, h
// 4), (b high, h 6).
inline void six_bits(Bytes a, Bytes b, Bytes h, Bytes* out) noexcept {
  const Bytes above = vshrq_n_u8(h, 2);
  out[2] = vsriq_n_u8(vandq_u8(h, bytes(0x30)), a, 4);
  out[3] = vsriq_n_u8(vandq_u8(above, bytes(0x30)), b, 4);
  out[0] = vsliq_n_u8(a, vandq_u8(h, bytes(3)), 4);
  out[1] = vsliq_n_u8(b, vandq_u8(above, bytes(3)), 4);
}

struct GemvQ6K : GemvFields {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ6K);
  static constexpr int kPlaces = 1;
  static constexpr bool kHasMin = false;

  static void header(const uint8_t* w, const SplitSums& x, Bytes* scales, SuperSums& s) noexcept {
    s.d = load_halves(w + 832);
    load_four(w + 768, scales);
    // Quants are stored plus 32.
    s.scaled[0] = vnegq_s32(vshlq_n_s32(dot_sums<16>(scales, x), 5));
  }

  template <int c>
  THIMBLE_INLINE static void chunk(const uint8_t* w, const int8x16_t* x, int32x4_t* dots) noexcept {
    constexpr int half = c / 2, part = c % 2;
    unroll<0, 2>([&](auto pair) THIMBLE_INLINE {
      Bytes a[2], b[2], h[2];
      load_two(w + 256 * half + 64 * part + 32 * pair.value, a);
      load_two(w + 256 * half + 128 + 64 * part + 32 * pair.value, b);
      load_two(w + 512 + 128 * half + 64 * part + 32 * pair.value, h);
      unroll<0, 2>([&](auto i) THIMBLE_INLINE {
        Bytes four[4];
        six_bits(a[i.value], b[i.value], h[i.value], four);
        unroll<0, 4>([&](auto j) THIMBLE_INLINE {
          dots[j.value] = dot_step<2 * pair.value + i.value>(dots[j.value], four[j.value], x[j.value]);
        });
      });
    });
  }
};

struct GemvQ3K : GemvFields {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ3K);
  static constexpr int kPlaces = 3;
  static constexpr bool kHasMin = false;

  static void header(const uint8_t* w, const SplitSums& x, Bytes* scales, SuperSums& s) noexcept {
    s.d = load_halves(w + 432);
    six_bits(vld1q_u8(w + 384), vld1q_u8(w + 400), vld1q_u8(w + 416), scales);
    for (int t = 0; t < 4; ++t) scales[t] = vsubq_u8(scales[t], bytes(32));
    // Quants are stored plus 4.
    s.scaled[0] = vnegq_s32(vshlq_n_s32(dot_sums<16>(scales, x), 2));
    s.scaled[1] = s.scaled[2] = no_sum();
  }

  // Two bits of v where they stand (the fourth field would be a negative byte, and is moved), and the bit of h above
  // them: at most 7 * 16. A set bit gives 255, which is -1.
  template <int c, int j>
  static Bytes field(Bytes v, Bytes h) noexcept {
    constexpr int kShift = j == 3 ? 0 : 2 * j;
    const Bytes low = j == 3 ? vshrq_n_u8(v, 6) : vandq_u8(v, bytes(3 << kShift));
    return vmlsq_u8(low, vtstq_u8(h, bytes(1 << (4 * (c / 2) + j))), bytes(4 << kShift));
  }

  template <int c>
  THIMBLE_INLINE static void chunk(const uint8_t* w, const int8x16_t* x, int32x4_t* dots) noexcept {
    unroll<0, 2>([&](auto pair) THIMBLE_INLINE {
      Bytes v[2], h[2];
      load_two(w + 64 * (c % 2) + 32 * pair.value, h);
      load_two(w + 128 + 64 * c + 32 * pair.value, v);
      unroll<0, 2>([&](auto i) THIMBLE_INLINE {
        unroll<0, 4>([&](auto j) THIMBLE_INLINE {
          const Bytes q = field<c, j.value>(v[i.value], h[i.value]);
          dots[j.value] = dot_step<2 * pair.value + i.value>(dots[j.value], q, x[j.value]);
        });
      });
    });
  }
};

struct GemvQ2K : GemvFields {
  static constexpr size_t kBytes = kLanes * sizeof(BlockQ2K);
  static constexpr int kPlaces = 3;
  static constexpr bool kHasMin = true;

  template <int c, int j>
  static int32x4_t scale(const Bytes* scales) noexcept {
    return unsigned_byte<c % 2 + 2 * (j % 2)>(scales[2 * (c / 2) + j / 2]);
  }

  static void header(const uint8_t* w, const SplitSums& x, Bytes* scales, SuperSums& s) noexcept {
    Bytes packed[4], mins[4];
    load_four(w, packed);
    for (int t = 0; t < 4; ++t) {
      scales[t] = vandq_u8(packed[t], bytes(15));
      mins[t] = vshrq_n_u8(packed[t], 4);
    }
    s.mins = dot_sums<16>(mins, x);
    const Bytes both = vld1q_u8(w + 320);
    s.d = halves<0>(both);
    s.dmin = halves<16>(both);
    s.scaled[0] = s.scaled[1] = s.scaled[2] = no_sum();
  }

  template <int c>
  THIMBLE_INLINE static void chunk(const uint8_t* w, const int8x16_t* x, int32x4_t* dots) noexcept {
    unroll<0, 2>([&](auto pair) THIMBLE_INLINE {
      Bytes v[2];
      load_two(w + 64 + 64 * c + 32 * pair.value, v);
      unroll<0, 2>([&](auto i) THIMBLE_INLINE {
        constexpr int t = 2 * pair.value + i.value;
        dots[0] = dot_step<t>(dots[0], vandq_u8(v[i.value], bytes(3)), x[0]);
        dots[1] = dot_step<t>(dots[1], vandq_u8(v[i.value], bytes(3 << 2)), x[1]);
        dots[2] = dot_step<t>(dots[2], vandq_u8(v[i.value], bytes(3 << 4)), x[2]);
        dots[3] = dot_step<t>(dots[3], vshrq_n_u8(v[i.value], 6), x[3]);
      });
    });
  }
};

}  // namespace
}  // namespace thimble::kernels
