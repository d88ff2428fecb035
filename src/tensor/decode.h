// Scalar decoders, one per type: the specification every kernel is tested against. Those of stock types are bit-exact
// with ggml's dequantize_row_* (ggml-quants.c of llama.cpp v0.5.0), operation by operation; see DecodeFn for the
// contract.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thimble {

void decode_f32(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_f16(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_bf16(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q8_0(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q4_0(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q4_1(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q5_0(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q5_1(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q2_k(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q3_k(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q4_k(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q5_k(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_q6_k(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_iq4_nl(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_iq4_xs(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_i4_g64(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_i4_g128(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_i5_g64(const std::byte* blocks, float* out, int64_t n) noexcept;
void decode_i5_g128(const std::byte* blocks, float* out, int64_t n) noexcept;

}  // namespace thimble
