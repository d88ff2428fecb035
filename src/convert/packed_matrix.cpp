#include "convert/packed_matrix.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/float16.h"

namespace thimble {

namespace {

// Nibble of output o % 8 in a word of awq_gemm: the inverse of {0, 2, 4, 6, 1, 3, 5, 7}.
constexpr std::array<int, 8> kAwqNibble = {0, 4, 1, 5, 2, 6, 3, 7};

constexpr uint32_t kOneInEachNibble = 0x11111111u;

uint32_t word_at(const SafetensorsTensor& tensor, int64_t index) noexcept {
  uint32_t word;
  std::memcpy(&word, tensor.data.data() + static_cast<size_t>(index) * sizeof(word), sizeof(word));  // unaligned
  return word;
}

uint8_t nibble(uint32_t word, int64_t n) noexcept {
  return static_cast<uint8_t>((word >> (4 * n)) & 15u);
}

float scale_at(const SafetensorsTensor& tensor, int64_t index) noexcept {
  const std::byte* at = tensor.data.data() + static_cast<size_t>(index) * safetensors_type_bytes(tensor.type);
  if (tensor.type == SafetensorsType::f32) {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return tensor.type == SafetensorsType::f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

uint8_t gptq_zero(const PackedMatrix& m, uint32_t word, int64_t n) noexcept {
  if (m.packing == HfPacking::gptq_v2) return nibble(word, n);
  if (m.zeros_borrow) return nibble(word + kOneInEachNibble, n);
  return static_cast<uint8_t>(nibble(word, n) + 1);
}

}  // namespace

void read_codes(const PackedMatrix& m, std::span<const int64_t> rows, uint8_t* codes) noexcept {
  const auto stride = static_cast<size_t>(m.n_in);
  if (m.packing == HfPacking::awq_gemm) {
    for (int64_t i = 0; i < m.n_in; ++i) {
      const int64_t first = i * (m.n_out / 8);
      for (size_t r = 0; r < rows.size(); ++r) {
        const uint32_t word = word_at(*m.codes, first + rows[r] / 8);
        codes[r * stride + static_cast<size_t>(i)] = nibble(word, kAwqNibble[static_cast<size_t>(rows[r] % 8)]);
      }
    }
    return;
  }
  const bool by_row = m.packing == HfPacking::awq_gemv;
  const int64_t n_words = m.n_in / 8;
  for (int64_t k = 0; k < n_words; ++k) {
    for (size_t r = 0; r < rows.size(); ++r) {
      const uint32_t word = word_at(*m.codes, by_row ? rows[r] * n_words + k : k * m.n_out + rows[r]);
      uint8_t* out = codes + r * stride + static_cast<size_t>(8 * k);
      for (int64_t n = 0; n < 8; ++n) out[n] = nibble(word, n);
    }
  }
}

void read_groups(const PackedMatrix& m, int64_t row, float* scales, uint8_t* zeros) noexcept {
  for (int64_t g = 0; g < m.n_groups; ++g) {
    if (m.packing == HfPacking::awq_gemv) {
      scales[g] = scale_at(*m.scales, row * 8 * m.zeros_width + g);
      zeros[g] = nibble(word_at(*m.zeros, row * m.zeros_width + g / 8), g % 8);
      continue;
    }
    scales[g] = scale_at(*m.scales, g * m.n_out + row);
    const uint32_t word = word_at(*m.zeros, g * (m.n_out / 8) + row / 8);
    zeros[g] = m.packing == HfPacking::awq_gemm ? nibble(word, kAwqNibble[static_cast<size_t>(row % 8)])
                                                : gptq_zero(m, word, row % 8);
  }
}

const SafetensorsTensor& packed_tensor(const SafetensorsFile& weights, const std::string& name,
                                       std::span<const int64_t> shape, std::span<const SafetensorsType> types) {
  const SafetensorsTensor* tensor = weights.find(name);
  if (tensor == nullptr) {
    fail(ErrorCode::corrupt, "{}: tensor '{}' is missing, expected it with shape {}", weights.source(), name,
         format_shape(shape));
  }
  if (std::find(types.begin(), types.end(), tensor->type) == types.end()) {
    std::vector<std::string_view> names;
    for (const SafetensorsType type : types) names.push_back(safetensors_type_name(type));
    fail(ErrorCode::unsupported, "{}: tensor '{}' has elements of type {}, expected {}", weights.source(), name,
         safetensors_type_name(tensor->type), fmt::join(names, " or "));
  }
  if (!std::equal(tensor->shape.begin(), tensor->shape.end(), shape.begin(), shape.end())) {
    fail(ErrorCode::corrupt, "{}: tensor '{}' has shape {}, expected {} from config.json", weights.source(), name,
         format_shape(tensor->shape), format_shape(shape));
  }
  return *tensor;
}

}  // namespace thimble
