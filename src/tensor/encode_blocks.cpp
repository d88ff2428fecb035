// Encoders of the block-quantized types: fit, round to nearest, pack (tensor/grid.h).
#include "tensor/encode.h"
#include "tensor/grid.h"

namespace thimble {

namespace {

void encode_blocks(TensorType type, const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  const GridTraits& grid_type = *find_grid(type);
  const int64_t block_bytes = traits(type).block_bytes;
  for (int64_t i = 0; i < n; i += grid_type.block_elems, blocks += block_bytes) {
    BlockGrid grid;
    uint8_t codes[kMaxGridElems];
    grid_type.fit(x + i, importance != nullptr ? importance + i : nullptr, &grid);
    nearest_codes(grid_type, grid, x + i, codes);
    grid_type.store(grid, codes, blocks);
  }
}

}  // namespace

void encode_q8_0(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q8_0, x, importance, blocks, n);
}
void encode_q4_0(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q4_0, x, importance, blocks, n);
}
void encode_q4_1(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q4_1, x, importance, blocks, n);
}
void encode_q5_0(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q5_0, x, importance, blocks, n);
}
void encode_q5_1(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q5_1, x, importance, blocks, n);
}
void encode_q2_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q2_k, x, importance, blocks, n);
}
void encode_q3_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q3_k, x, importance, blocks, n);
}
void encode_q4_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q4_k, x, importance, blocks, n);
}
void encode_q5_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q5_k, x, importance, blocks, n);
}
void encode_q6_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::q6_k, x, importance, blocks, n);
}
void encode_iq4_nl(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::iq4_nl, x, importance, blocks, n);
}
void encode_iq4_xs(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::iq4_xs, x, importance, blocks, n);
}
void encode_i4_g64(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::i4_g64, x, importance, blocks, n);
}
void encode_i4_g128(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::i4_g128, x, importance, blocks, n);
}
void encode_i5_g64(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::i5_g64, x, importance, blocks, n);
}
void encode_i5_g128(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  encode_blocks(TensorType::i5_g128, x, importance, blocks, n);
}

}  // namespace thimble
