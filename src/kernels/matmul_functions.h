// Every matmul kernel function. Each lives in the file of its name; see matmul_args.h for the contract.
#pragma once

#include "kernels/matmul_args.h"

namespace thimble::kernels {

void matmul_f32_scalar(const MatmulArgs& args) noexcept;
void matmul_f16_scalar(const MatmulArgs& args) noexcept;
void matmul_bf16_scalar(const MatmulArgs& args) noexcept;
void matmul_q8_0_scalar(const MatmulArgs& args) noexcept;
void matmul_q4_0_scalar(const MatmulArgs& args) noexcept;
void matmul_q4_1_scalar(const MatmulArgs& args) noexcept;
void matmul_q5_0_scalar(const MatmulArgs& args) noexcept;
void matmul_q5_1_scalar(const MatmulArgs& args) noexcept;
void matmul_iq4_nl_scalar(const MatmulArgs& args) noexcept;
void matmul_i4_g64_scalar(const MatmulArgs& args) noexcept;
void matmul_i4_g128_scalar(const MatmulArgs& args) noexcept;
void matmul_i5_g64_scalar(const MatmulArgs& args) noexcept;
void matmul_i5_g128_scalar(const MatmulArgs& args) noexcept;
void matmul_q2_k_scalar(const MatmulArgs& args) noexcept;
void matmul_q3_k_scalar(const MatmulArgs& args) noexcept;
void matmul_q4_k_scalar(const MatmulArgs& args) noexcept;
void matmul_q5_k_scalar(const MatmulArgs& args) noexcept;
void matmul_q6_k_scalar(const MatmulArgs& args) noexcept;
void matmul_iq4_xs_scalar(const MatmulArgs& args) noexcept;

void matmul_f32_avx2(const MatmulArgs& args) noexcept;
void matmul_f16_avx2(const MatmulArgs& args) noexcept;
void matmul_bf16_avx2(const MatmulArgs& args) noexcept;
void matmul_q8_0_avx2(const MatmulArgs& args) noexcept;
void matmul_q4_0_avx2(const MatmulArgs& args) noexcept;
void matmul_q4_1_avx2(const MatmulArgs& args) noexcept;
void matmul_q5_0_avx2(const MatmulArgs& args) noexcept;
void matmul_q5_1_avx2(const MatmulArgs& args) noexcept;
void matmul_iq4_nl_avx2(const MatmulArgs& args) noexcept;
void matmul_i4_g64_avx2(const MatmulArgs& args) noexcept;
void matmul_i4_g128_avx2(const MatmulArgs& args) noexcept;
void matmul_i5_g64_avx2(const MatmulArgs& args) noexcept;
void matmul_i5_g128_avx2(const MatmulArgs& args) noexcept;
void matmul_q2_k_avx2(const MatmulArgs& args) noexcept;
void matmul_q3_k_avx2(const MatmulArgs& args) noexcept;
void matmul_q4_k_avx2(const MatmulArgs& args) noexcept;
void matmul_q5_k_avx2(const MatmulArgs& args) noexcept;
void matmul_q6_k_avx2(const MatmulArgs& args) noexcept;
void matmul_iq4_xs_avx2(const MatmulArgs& args) noexcept;

void matmul_f32_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_f16_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_bf16_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q8_0_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q4_0_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q4_1_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q5_0_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q5_1_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_iq4_nl_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_i4_g64_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_i4_g128_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_i5_g64_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_i5_g128_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q2_k_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q3_k_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q4_k_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q5_k_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_q6_k_avx512_vnni(const MatmulArgs& args) noexcept;
void matmul_iq4_xs_avx512_vnni(const MatmulArgs& args) noexcept;

void matmul_q2_k_avx512_amx(const MatmulArgs& args) noexcept;
void matmul_q3_k_avx512_amx(const MatmulArgs& args) noexcept;
void matmul_q4_k_avx512_amx(const MatmulArgs& args) noexcept;
void matmul_q5_k_avx512_amx(const MatmulArgs& args) noexcept;
void matmul_q6_k_avx512_amx(const MatmulArgs& args) noexcept;
void matmul_iq4_xs_avx512_amx(const MatmulArgs& args) noexcept;

void matmul_f32_neon(const MatmulArgs& args) noexcept;
void matmul_f16_neon(const MatmulArgs& args) noexcept;
void matmul_bf16_neon(const MatmulArgs& args) noexcept;
void matmul_q8_0_neon(const MatmulArgs& args) noexcept;
void matmul_q4_0_neon(const MatmulArgs& args) noexcept;
void matmul_q4_1_neon(const MatmulArgs& args) noexcept;
void matmul_q5_0_neon(const MatmulArgs& args) noexcept;
void matmul_q5_1_neon(const MatmulArgs& args) noexcept;
void matmul_iq4_nl_neon(const MatmulArgs& args) noexcept;
void matmul_i4_g64_neon(const MatmulArgs& args) noexcept;
void matmul_i4_g128_neon(const MatmulArgs& args) noexcept;
void matmul_i5_g64_neon(const MatmulArgs& args) noexcept;
void matmul_i5_g128_neon(const MatmulArgs& args) noexcept;
void matmul_q2_k_neon(const MatmulArgs& args) noexcept;
void matmul_q3_k_neon(const MatmulArgs& args) noexcept;
void matmul_q4_k_neon(const MatmulArgs& args) noexcept;
void matmul_q5_k_neon(const MatmulArgs& args) noexcept;
void matmul_q6_k_neon(const MatmulArgs& args) noexcept;
void matmul_iq4_xs_neon(const MatmulArgs& args) noexcept;

void matmul_q8_0_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_q4_0_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_q4_1_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_q5_0_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_q5_1_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_iq4_nl_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_i4_g64_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_i4_g128_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_i5_g64_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_i5_g128_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_q2_k_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_q3_k_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_q4_k_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_q5_k_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_q6_k_neon_dotprod(const MatmulArgs& args) noexcept;
void matmul_iq4_xs_neon_dotprod(const MatmulArgs& args) noexcept;

void matmul_q8_0_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_q4_0_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_q4_1_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_q5_0_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_q5_1_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_iq4_nl_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_i4_g64_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_i4_g128_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_i5_g64_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_i5_g128_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_q2_k_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_q3_k_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_q4_k_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_q5_k_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_q6_k_neon_i8mm(const MatmulArgs& args) noexcept;
void matmul_iq4_xs_neon_i8mm(const MatmulArgs& args) noexcept;

}  // namespace thimble::kernels
