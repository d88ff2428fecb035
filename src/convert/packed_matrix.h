// A matrix of int4 codes in a safetensors file, whatever way they are packed: weight[o][i] = scale * (code - zero),
// with a scale and a zero point for each row o and group of neighbouring inputs i. A view; reads a few rows at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "format/hf_quantization.h"
#include "format/safetensors.h"

namespace thimble {

/// Where codes and zero points are, in 32-bit words of 8 nibbles, lowest first. Written down from what packs them:
/// gptq: auto_gptq/nn_modules/qlinear/qlinear_cuda.py, QuantLinear.pack; awq: awq/modules/linear/gemm.py and gemv.py,
/// from_linear. W: code words, Z: zero words, S: scales.
///   gptq      W [n_in/8][n_out]: nibble i % 8.   Z [n_groups][n_out/8]: nibble o % 8.   S [n_groups][n_out]
///   awq_gemm  W [n_in][n_out/8], Z [n_groups][n_out/8]: nibble p holds output {0,2,4,6,1,3,5,7}[p].   S as gptq
///   awq_gemv  W [n_out][n_in/8]: nibble i % 8.   Z [n_out][width]: nibble g % 8.   S [n_out][8 * width]
struct PackedMatrix {
  HfPacking packing = HfPacking::gptq;
  std::string module;  // "model.layers.0.mlp.up_proj"
  int64_t n_out = 0;
  int64_t n_in = 0;
  int64_t group_size = 0;  // n_in for a whole row
  int64_t n_groups = 0;
  int64_t zeros_width = 0;  // awq_gemv only
  // gptq stores zero - 1, but GPTQModel subtracts 1 from each nibble of a whole word at once: a zero point of 0 borrows
  // from its neighbour, and adding the word back undoes that. Only matters where a nibble is 15.
  bool zeros_borrow = false;
  const SafetensorsTensor* codes = nullptr;   // I32
  const SafetensorsTensor* zeros = nullptr;   // I32
  const SafetensorsTensor* scales = nullptr;  // F16, BF16 or F32
};

/// Codes [rows.size()][n_in] of the given rows.
void read_codes(const PackedMatrix& matrix, std::span<const int64_t> rows, uint8_t* codes) noexcept;

/// Scales and zero points (0 to 16) [n_groups] of one row.
void read_groups(const PackedMatrix& matrix, int64_t row, float* scales, uint8_t* zeros) noexcept;

/// Element types of codes and zero points, and of scales.
inline constexpr SafetensorsType kWordTypes[] = {SafetensorsType::i32};
inline constexpr SafetensorsType kScaleTypes[] = {SafetensorsType::f16, SafetensorsType::bf16, SafetensorsType::f32};

/// A tensor of a packed module, found and checked. Errors: corrupt (missing, another shape), unsupported (another
/// element type), each naming `weights`' source, the tensor, found and expected.
const SafetensorsTensor& packed_tensor(const SafetensorsFile& weights, const std::string& name,
                                       std::span<const int64_t> shape, std::span<const SafetensorsType> types);

}  // namespace thimble
