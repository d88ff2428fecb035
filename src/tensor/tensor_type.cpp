// The type table and the look-ups in it. Adding a type is one row here and one pair of decode and encode functions.
#include "tensor/tensor_type.h"

#include <algorithm>

#include "base/checked.h"
#include "tensor/blocks.h"
#include "tensor/decode.h"
#include "tensor/encode.h"

namespace thimble {

namespace {

constexpr TypeTraits plain(TensorType type, std::string_view name, uint32_t bytes, DecodeFn decode = nullptr,
                           EncodeFn encode = nullptr) {
  return {type, name, 1, bytes, false, decode, encode};
}

template <typename Block>
constexpr TypeTraits blocked(TensorType type, std::string_view name, uint32_t elems, DecodeFn decode, EncodeFn encode) {
  return {type, name, elems, sizeof(Block), true, decode, encode};
}

constexpr TypeTraits kTypes[] = {
    plain(TensorType::f32, "f32", 4, decode_f32, encode_f32),
    plain(TensorType::f16, "f16", 2, decode_f16, encode_f16),
    blocked<BlockQ4_0>(TensorType::q4_0, "q4_0", kSmallBlock, decode_q4_0, encode_q4_0),
    blocked<BlockQ4_1>(TensorType::q4_1, "q4_1", kSmallBlock, decode_q4_1, encode_q4_1),
    blocked<BlockQ5_0>(TensorType::q5_0, "q5_0", kSmallBlock, decode_q5_0, encode_q5_0),
    blocked<BlockQ5_1>(TensorType::q5_1, "q5_1", kSmallBlock, decode_q5_1, encode_q5_1),
    blocked<BlockQ8_0>(TensorType::q8_0, "q8_0", kSmallBlock, decode_q8_0, encode_q8_0),
    blocked<BlockQ2K>(TensorType::q2_k, "q2_k", kSuperBlock, decode_q2_k, encode_q2_k),
    blocked<BlockQ3K>(TensorType::q3_k, "q3_k", kSuperBlock, decode_q3_k, encode_q3_k),
    blocked<BlockQ4K>(TensorType::q4_k, "q4_k", kSuperBlock, decode_q4_k, encode_q4_k),
    blocked<BlockQ5K>(TensorType::q5_k, "q5_k", kSuperBlock, decode_q5_k, encode_q5_k),
    blocked<BlockQ6K>(TensorType::q6_k, "q6_k", kSuperBlock, decode_q6_k, encode_q6_k),
    blocked<BlockIQ4_NL>(TensorType::iq4_nl, "iq4_nl", kSmallBlock, decode_iq4_nl, encode_iq4_nl),
    blocked<BlockIQ4_XS>(TensorType::iq4_xs, "iq4_xs", kSuperBlock, decode_iq4_xs, encode_iq4_xs),
    plain(TensorType::i8, "i8", 1),
    plain(TensorType::i16, "i16", 2),
    plain(TensorType::i32, "i32", 4),
    plain(TensorType::i64, "i64", 8),
    plain(TensorType::f64, "f64", 8),
    plain(TensorType::bf16, "bf16", 2, decode_bf16, encode_bf16),
    blocked<BlockI4_G64>(TensorType::i4_g64, "i4_g64", BlockI4_G64::kElems, decode_i4_g64, encode_i4_g64),
    blocked<BlockI4_G128>(TensorType::i4_g128, "i4_g128", BlockI4_G128::kElems, decode_i4_g128, encode_i4_g128),
    blocked<BlockI5_G64>(TensorType::i5_g64, "i5_g64", BlockI5_G64::kElems, decode_i5_g64, encode_i5_g64),
    blocked<BlockI5_G128>(TensorType::i5_g128, "i5_g128", BlockI5_G128::kElems, decode_i5_g128, encode_i5_g128),
};

constexpr char ascii_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

std::span<const TypeTraits> all_types() noexcept {
  return kTypes;
}

const TypeTraits* find_type(uint32_t id) noexcept {
  for (const TypeTraits& row : kTypes) {
    if (static_cast<uint32_t>(row.type) == id) return &row;
  }
  return nullptr;
}

const TypeTraits* find_type(std::string_view name) noexcept {
  for (const TypeTraits& row : kTypes) {
    if (std::ranges::equal(row.name, name, {}, {}, ascii_lower)) return &row;
  }
  return nullptr;
}

const TypeTraits& traits(TensorType type) noexcept {
  // A TensorType that is not in the table can only come from an unchecked cast, which is a defect of the caller: f32 is
  // returned rather than a wild reference.
  const TypeTraits* row = find_type(static_cast<uint32_t>(type));
  return row != nullptr ? *row : kTypes[0];
}

std::optional<uint64_t> row_bytes(TensorType type, uint64_t n) noexcept {
  const TypeTraits* row = find_type(static_cast<uint32_t>(type));
  if (row == nullptr || n % row->block_elems != 0) return std::nullopt;
  return checked_mul(n / row->block_elems, row->block_bytes);
}

}  // namespace thimble
