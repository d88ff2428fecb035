// Element types and the ONE type table: name, id, block geometry, scalar decode and encode of each.
// Ids, names and byte layouts of the stock types are ggml's (ggml.h, ggml-common.h), so that stock llama.cpp loads what
// Thimble writes. The scalar encode and decode functions here are the specification every kernel is tested against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace thimble {

// These values are embedded in files: never change them.
enum class TensorType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  iq4_xs = 23,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  bf16 = 30,
  // Thimble's own, outside ggml's range: groups of 64 and 128 of 4 and 5 bits with a scale and an offset.
  i4_g64 = 1000,
  i4_g128 = 1001,
  i5_g64 = 1002,
  i5_g128 = 1003,
};

/// Decodes `n` elements (a multiple of block_elems) from `blocks` to `out` [n].
using DecodeFn = void (*)(const std::byte* blocks, float* out, int64_t n) noexcept;

/// Encodes one row `x` [n] (n a multiple of block_elems) to `blocks`. `importance` [n] weighs the squared error of each
/// element (mean squared activation of that input channel), or is null for the type's own default weighting.
using EncodeFn = void (*)(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;

struct TypeTraits {
  TensorType type;
  std::string_view name;  // ggml's name in lower case: "q4_k"; of our own types: "i4_g64"
  uint32_t block_elems;   // elements per block
  uint32_t block_bytes;   // bytes per block
  bool is_quantized;      // block-quantized (not a plain number type)
  DecodeFn decode;        // null for integer types and f64
  EncodeFn encode;        // null where decode is null

  /// Unknown to stock llama.cpp: files with it load only here.
  bool is_own() const noexcept { return static_cast<uint32_t>(type) >= 1000; }
  double bits_per_weight() const noexcept { return 8.0 * block_bytes / block_elems; }
};

/// All known types in order of id.
std::span<const TypeTraits> all_types() noexcept;

/// Row of the table for an id found in a file, or null when the id is not known.
const TypeTraits* find_type(uint32_t id) noexcept;

/// Row of the table for a name in lower or upper case ("Q4_K"), or null.
const TypeTraits* find_type(std::string_view name) noexcept;

/// Row of the table for a known type.
const TypeTraits& traits(TensorType type) noexcept;

/// Bytes of a row of `n` elements, or nothing when n is not a multiple of the block or the size does not fit 64 bits.
std::optional<uint64_t> row_bytes(TensorType type, uint64_t n) noexcept;

}  // namespace thimble
