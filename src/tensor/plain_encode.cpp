// Encoders of the plain float types. Importance has no meaning for them: every element is rounded on its own.
#include <cstring>

#include "base/float16.h"
#include "tensor/encode.h"

namespace thimble {

namespace {

void store_u16(std::byte* bytes, int64_t i, uint16_t value) noexcept {
  std::memcpy(bytes + 2 * i, &value, 2);
}

}  // namespace

void encode_f32(const float* x, const float* /*importance*/, std::byte* blocks, int64_t n) noexcept {
  if (n > 0) std::memcpy(blocks, x, static_cast<size_t>(n) * sizeof(float));
}

// Overflow gives infinity, as in ggml: a silent clamp would hide that a model does not fit half precision.
void encode_f16(const float* x, const float* /*importance*/, std::byte* blocks, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) store_u16(blocks, i, f32_to_f16(x[i]));
}

void encode_bf16(const float* x, const float* /*importance*/, std::byte* blocks, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) store_u16(blocks, i, f32_to_bf16(x[i]));
}

}  // namespace thimble
