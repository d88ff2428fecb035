// Scalar encoders, one per type; see EncodeFn in tensor_type.h for the contract. Any input is taken: a row with NaN or
// infinity gives a well-formed block with meaningless values, never a trap or an out-of-range access. Scales that half
// precision cannot hold are clamped to its largest finite value.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thimble {

void encode_f32(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_f16(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_bf16(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q8_0(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q4_0(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q4_1(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q5_0(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q5_1(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q2_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q3_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q4_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q5_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_q6_k(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_iq4_nl(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_iq4_xs(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_i4_g64(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_i4_g128(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_i5_g64(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;
void encode_i5_g128(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept;

}  // namespace thimble
