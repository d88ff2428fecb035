// Packing and unpacking of panels; the same loop for every type.
#include "kernels/packed_layout.h"

#include <algorithm>
#include <cstring>

namespace thimble::kernels {

namespace {

constexpr size_t kDword = 4;
constexpr size_t kHalfword = 2;

// Q6_K keeps low bits, high bits and scales apart; kernels with 8 and 16 lanes read some of each in turn. Offset / 16
// of the chunks of 16 bytes in that order: packed like this they are one rising stream, the only kind that hardware
// prefetchers follow (one Zen 4 core: 26 GB/s instead of 9). Kernels with 4 lanes have other steps.
constexpr size_t kQ6KChunks[13] = {12, 0, 2, 8, 1, 3, 9, 4, 6, 10, 5, 7, 11};

// Offset in the GGUF block of the packed dword `index`.
size_t dword_offset(const PackedBlock& block, size_t index) noexcept {
  if (block.in_read_order) return 16 * kQ6KChunks[index / 4] + index % 4 * kDword;
  const size_t at = index * kDword;
  // Types keep their odd halfword first or last, so what follows it is still whole dwords.
  return block.halfword == 0 ? at + kHalfword : at;
}

int64_t n_blocks(TensorType type, int64_t k) noexcept {
  return k / traits(type).block_elems;
}

}  // namespace

bool can_pack(TensorType type) noexcept {
  return traits(type).is_quantized || type == TensorType::f16 || type == TensorType::bf16;
}

PackedBlock packed_block(TensorType type, int lanes) noexcept {
  const size_t bytes = traits(type).block_bytes;
  if (bytes % kDword == 0) return {bytes / kDword, -1, bytes, false};
  // Q3_K and Q6_K end in d; the other odd types begin with it.
  const bool last = type == TensorType::q3_k || type == TensorType::q6_k;
  return {bytes / kDword, last ? static_cast<int64_t>(bytes - kHalfword) : 0, bytes,
          type == TensorType::q6_k && lanes >= 8};
}

size_t packed_panel_bytes(TensorType type, int lanes, int64_t k) noexcept {
  return static_cast<size_t>(n_blocks(type, k)) * traits(type).block_bytes * static_cast<size_t>(lanes);
}

void pack_panel(TensorType type, int lanes, const std::byte* rows, size_t row_stride, int64_t n_rows, int64_t k,
                std::byte* out) noexcept {
  const PackedBlock block = packed_block(type, lanes);
  const auto width = static_cast<size_t>(lanes);
  const auto filled = static_cast<size_t>(n_rows);
  if (filled < width) std::fill_n(out, packed_panel_bytes(type, lanes, k), std::byte{0});
  for (size_t b = 0; b < static_cast<size_t>(n_blocks(type, k)); ++b) {
    std::byte* to = out + b * block.block_bytes * width;
    for (size_t r = 0; r < filled; ++r) {
      const std::byte* from = rows + r * row_stride + b * block.block_bytes;
      for (size_t i = 0; i < block.n_dwords; ++i) {
        std::memcpy(to + (i * width + r) * kDword, from + dword_offset(block, i), kDword);
      }
      if (block.halfword < 0) continue;
      std::memcpy(to + block.n_dwords * kDword * width + r * kHalfword, from + block.halfword, kHalfword);
    }
  }
}

void unpack_row(TensorType type, int lanes, const std::byte* panel, int lane, int64_t k, std::byte* out) noexcept {
  const PackedBlock block = packed_block(type, lanes);
  const auto width = static_cast<size_t>(lanes);
  const auto r = static_cast<size_t>(lane);
  for (size_t b = 0; b < static_cast<size_t>(n_blocks(type, k)); ++b) {
    const std::byte* from = panel + b * block.block_bytes * width;
    std::byte* to = out + b * block.block_bytes;
    for (size_t i = 0; i < block.n_dwords; ++i) {
      std::memcpy(to + dword_offset(block, i), from + (i * width + r) * kDword, kDword);
    }
    if (block.halfword < 0) continue;
    std::memcpy(to + block.halfword, from + block.n_dwords * kDword * width + r * kHalfword, kHalfword);
  }
}

}  // namespace thimble::kernels
