// From packed int4 matrices to tensor types without rounding a code or a scale: codes move to other bits, scales are
// repeated where a group is longer than a block. The one number that may be rounded is the offset of the types that
// have one, m = -scale * zero as f16; how far that moves a weight is computed beforehand and reported.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "convert/packed_matrix.h"
#include "tensor/tensor_type.h"

namespace thimble {

/// What storing a matrix in a type changes of scale * (code - zero).
struct PackedFit {
  TensorType type = TensorType::f32;
  double largest = 0.0;   // absolute change of a weight, over all codes that could occur
  double in_steps = 0.0;  // the same in units of the weight's scale
  bool exact() const noexcept { return largest == 0.0; }
};

/// True for the types that hold numbers instead of codes.
inline bool is_float(TensorType type) noexcept {
  return type == TensorType::f32 || type == TensorType::f16 || type == TensorType::bf16;
}

/// True for the types a packed matrix can be stored as:
///   q4_0                        zero points 8 only (symmetric), exact
///   q4_1, i4_g64, i4_g128       exact where -scale * zero is an f16
///   q5_0, q8_0                  any zero point, exact, at 1 and 4 more bits
///   f32; f16, bf16              de-quantized: exact; rounded
bool can_hold_packed(TensorType type) noexcept;

/// The type for `matrix`, with what it changes. Without `wanted`: q4_0 where every zero point is 8, else q4_1: stock
/// types, the smaller one where it is exact. i4_g128 gives way to i4_g64 and that to q4_1 where a block would cross a
/// group. Reads scales and zero points. `symmetric`: what the configuration says of the zero points. Errors: corrupt (a
/// scale that is not finite, zero points other than 8 in a symmetric file), unsupported (zero points in q4_0, a scale
/// or offset beyond f16), each naming source, tensor, row and group.
PackedFit fit_packed(const PackedMatrix& matrix, std::optional<TensorType> wanted, std::optional<bool> symmetric,
                     const std::string& source);

/// One row as blocks of `type`, [row_bytes(type, n_in)]. `codes` [n_in], `scales` and `zeros` [n_groups]; `floats`
/// [n_in] is scratch for the float types.
void encode_packed_row(TensorType type, const PackedMatrix& matrix, const uint8_t* codes, const float* scales,
                       const uint8_t* zeros, float* floats, std::byte* blocks) noexcept;

}  // namespace thimble
