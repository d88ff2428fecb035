#include "convert/packed_int4.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/float16.h"

namespace thimble {

namespace {

constexpr int kCodes = 16;
constexpr uint8_t kMiddle = 8;  // zero point of a symmetric quantizer

// d * q + m
bool has_offset(TensorType type) noexcept {
  return type == TensorType::q4_1 || type == TensorType::i4_g64 || type == TensorType::i4_g128;
}

// s * (code - zero); exact in double, and in float for scales of 16 bits.
double weight_of(float scale, int code, uint8_t zero) noexcept {
  return static_cast<double>(scale) * (code - zero);
}

uint16_t offset_of(float scale, uint8_t zero) noexcept {
  return f32_to_f16(static_cast<float>(weight_of(scale, 0, zero)));
}

bool overflows(uint16_t half) noexcept {
  return (half & 0x7FFFu) >= 0x7C00u;
}

double rounded(TensorType type, double weight) noexcept {
  const auto value = static_cast<float>(weight);
  if (type == TensorType::f16) return static_cast<double>(f16_to_f32(f32_to_f16(value)));
  if (type == TensorType::bf16) return static_cast<double>(bf16_to_f32(f32_to_bf16(value)));
  return static_cast<double>(value);
}

// What `type` decodes to; zero points fit it.
double stored_weight(TensorType type, float scale, int code, uint8_t zero) noexcept {
  if (is_float(type)) return rounded(type, weight_of(scale, code, zero));
  const float d = f16_to_f32(f32_to_f16(scale));
  if (!has_offset(type)) return weight_of(d, code, zero);
  return static_cast<double>(d * static_cast<float>(code) + f16_to_f32(offset_of(scale, zero)));
}

// Where a group is, for messages.
struct Place {
  const PackedMatrix& matrix;
  const std::string& source;
  int64_t row, group;

  std::string text(std::string_view suffix) const {
    return fmt::format("{}: tensor '{}{}': row {}, group {}", source, matrix.module, suffix, row, group);
  }
};

void check_group(const Place& place, TensorType type, float scale, uint8_t zero) {
  if (!std::isfinite(scale)) {
    fail(ErrorCode::corrupt, "{}: found the scale {}, expected a finite number", place.text(".scales"),
         std::isnan(scale) ? "NaN" : "infinity");
  }
  if (type == TensorType::q4_0 && zero != kMiddle) {
    fail(ErrorCode::unsupported, "{}: found the zero point {}, expected {} for q4_0; q4_1 and q5_0 hold any",
         place.text(".qzeros"), zero, kMiddle);
  }
  const bool lost = is_float(type)
                        ? type == TensorType::f16 && overflows(f32_to_f16(scale * 16.0f))
                        : overflows(f32_to_f16(scale)) || (has_offset(type) && overflows(offset_of(scale, zero)));
  if (lost) {
    fail(ErrorCode::unsupported, "{}: found the scale {}, expected one that {} can hold with the zero point {}",
         place.text(".scales"), scale, traits(type).name, zero);
  }
}

void measure_group(TensorType type, float scale, uint8_t zero, PackedFit& fit) noexcept {
  // Block types are linear in the code: the ends are the worst.
  const int step = is_float(type) ? 1 : kCodes - 1;
  for (int code = 0; code < kCodes; code += step) {
    const double change = std::fabs(stored_weight(type, scale, code, zero) - weight_of(scale, code, zero));
    fit.largest = std::max(fit.largest, change);
    if (change > 0.0) fit.in_steps = std::max(fit.in_steps, change / std::fabs(static_cast<double>(scale)));
  }
}

template <typename Fn>
void for_each_group(const PackedMatrix& matrix, Fn&& visit) {
  std::vector<float> scales(static_cast<size_t>(matrix.n_groups));
  std::vector<uint8_t> zeros(scales.size());
  for (int64_t row = 0; row < matrix.n_out; ++row) {
    read_groups(matrix, row, scales.data(), zeros.data());
    for (size_t g = 0; g < scales.size(); ++g) visit(row, static_cast<int64_t>(g), scales[g], zeros[g]);
  }
}

bool blocks_fit(const PackedMatrix& matrix, TensorType type) noexcept {
  const int64_t n = traits(type).block_elems;
  return matrix.group_size % n == 0 && matrix.n_in % n == 0;
}

TensorType that_fits(const PackedMatrix& matrix, TensorType type) noexcept {
  if (type == TensorType::i4_g128 && !blocks_fit(matrix, type)) type = TensorType::i4_g64;
  if (type == TensorType::i4_g64 && !blocks_fit(matrix, type)) type = TensorType::q4_1;
  return type;  // blocks of 32 divide every group and row (open_gptq, open_awq)
}

// Of n codes; low nibbles are the first half of each 32 (tensor/blocks.h).
void store_nibbles(const uint8_t* codes, int64_t n, std::byte* out) noexcept {
  for (int64_t first = 0; first < n; first += 32, out += 16) {
    for (int64_t j = 0; j < 16; ++j) {
      out[j] = static_cast<std::byte>(codes[first + j] | (codes[first + j + 16] << 4));
    }
  }
}

std::byte* store_half(uint16_t half, std::byte* out) noexcept {
  std::memcpy(out, &half, sizeof(half));
  return out + sizeof(half);
}

// d * (q - 16) with q = code - zero + 16; the fifth bit of element j is bit j of a word in front.
void store_q5_0(const uint8_t* codes, uint8_t zero, std::byte* out) noexcept {
  uint8_t low[32];
  uint32_t high = 0;
  for (int j = 0; j < 32; ++j) {
    const int q = codes[j] - zero + 16;
    low[j] = static_cast<uint8_t>(q & 15);
    high |= static_cast<uint32_t>(q >> 4) << j;
  }
  std::memcpy(out, &high, sizeof(high));
  store_nibbles(low, 32, out + sizeof(high));
}

void store_block(TensorType type, const uint8_t* codes, float scale, uint8_t zero, std::byte* out) noexcept {
  out = store_half(f32_to_f16(scale), out);
  if (type == TensorType::q8_0) {
    for (int j = 0; j < 32; ++j) out[j] = static_cast<std::byte>(static_cast<int8_t>(codes[j] - zero));
  } else if (type == TensorType::q5_0) {
    store_q5_0(codes, zero, out);
  } else {
    if (has_offset(type)) out = store_half(offset_of(scale, zero), out);
    store_nibbles(codes, traits(type).block_elems, out);
  }
}

}  // namespace

bool can_hold_packed(TensorType type) noexcept {
  return is_float(type) || has_offset(type) || type == TensorType::q4_0 || type == TensorType::q5_0 ||
         type == TensorType::q8_0;
}

PackedFit fit_packed(const PackedMatrix& matrix, std::optional<TensorType> wanted, std::optional<bool> symmetric,
                     const std::string& source) {
  bool all_middle = true;
  for_each_group(matrix, [&](int64_t row, int64_t group, float, uint8_t zero) {
    if (zero == kMiddle) return;
    all_middle = false;
    if (!symmetric.value_or(false)) return;
    fail(
        ErrorCode::corrupt,
        "{}: found the zero point {}, expected {}: quantization_config says 'sym'. The zero points of the formats gptq "
        "and gptq_v2 differ by 1: is its checkpoint_format right?",
        Place{matrix, source, row, group}.text(".qzeros"), zero, kMiddle);
  });
  PackedFit fit;
  fit.type = that_fits(matrix, wanted.value_or(all_middle ? TensorType::q4_0 : TensorType::q4_1));
  for_each_group(matrix, [&](int64_t row, int64_t group, float scale, uint8_t zero) {
    check_group({matrix, source, row, group}, fit.type, scale, zero);
    measure_group(fit.type, scale, zero, fit);
  });
  return fit;
}

void encode_packed_row(TensorType type, const PackedMatrix& matrix, const uint8_t* codes, const float* scales,
                       const uint8_t* zeros, float* floats, std::byte* blocks) noexcept {
  const TypeTraits& row = traits(type);
  if (is_float(type)) {
    for (int64_t i = 0; i < matrix.n_in; ++i) {
      const int64_t g = i / matrix.group_size;
      floats[i] = static_cast<float>(weight_of(scales[g], codes[i], zeros[g]));
    }
    row.encode(floats, nullptr, blocks, matrix.n_in);
    return;
  }
  for (int64_t i = 0; i < matrix.n_in; i += row.block_elems, blocks += row.block_bytes) {
    const int64_t g = i / matrix.group_size;
    store_block(type, codes + i, scales[g], zeros[g], blocks);
  }
}

}  // namespace thimble
