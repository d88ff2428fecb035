// Scale searches of one block, one per type; see GridTraits::fit.
#pragma once

#include "tensor/grid.h"

namespace thimble {

void fit_q8_0(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_q4_0(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_q4_1(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_q5_0(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_q5_1(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_q2_k(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_q3_k(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_q4_k(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_q5_k(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_q6_k(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_iq4_nl(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_iq4_xs(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_i4_g64(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_i4_g128(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_i5_g64(const float* x, const float* importance, BlockGrid* grid) noexcept;
void fit_i5_g128(const float* x, const float* importance, BlockGrid* grid) noexcept;

}  // namespace thimble
