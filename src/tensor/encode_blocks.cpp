// Encoders of the block-quantized types: fit, round to nearest, pack (tensor/grid.h), for one row.
#include "tensor/encode.h"
#include "tensor/grid_fit.h"

namespace thimble {

namespace {

void encode_row(TensorType type, const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept {
  if (n > 0) kGridFitScalar.encode_rows[fit_index(type)](x, importance, 1, n, blocks);
}

}  // namespace

#define THIMBLE_ENCODER(type)                                                                          \
  void encode_##type(const float* x, const float* importance, std::byte* blocks, int64_t n) noexcept { \
    encode_row(TensorType::type, x, importance, blocks, n);                                            \
  }
THIMBLE_ENCODER(q8_0)
THIMBLE_ENCODER(q4_0)
THIMBLE_ENCODER(q4_1)
THIMBLE_ENCODER(q5_0)
THIMBLE_ENCODER(q5_1)
THIMBLE_ENCODER(q2_k)
THIMBLE_ENCODER(q3_k)
THIMBLE_ENCODER(q4_k)
THIMBLE_ENCODER(q5_k)
THIMBLE_ENCODER(q6_k)
THIMBLE_ENCODER(iq4_nl)
THIMBLE_ENCODER(iq4_xs)
THIMBLE_ENCODER(i4_g64)
THIMBLE_ENCODER(i4_g128)
THIMBLE_ENCODER(i5_g64)
THIMBLE_ENCODER(i5_g128)
#undef THIMBLE_ENCODER

}  // namespace thimble
