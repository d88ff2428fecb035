#include "convert/awq_checkpoint.h"

#include <array>

#include "base/error.h"

namespace thimble {

namespace {

int64_t round_up(int64_t n, int64_t step) {
  return (n + step - 1) / step;
}

// Words of zero points in a row of awq_gemv: awq/modules/linear/gemv.py, calculate_zeros_width.
int64_t gemv_width(int64_t n_groups, int64_t group_size) {
  const int64_t multiple = group_size >= 128 ? 1 : group_size >= 64 ? 2 : 4;
  return round_up(round_up(n_groups, 8), multiple) * multiple;
}

}  // namespace

PackedMatrix open_awq(const SafetensorsFile& weights, const HfQuantization& quantization, const std::string& module,
                      int64_t n_out, int64_t n_in) {
  PackedMatrix m;
  m.packing = quantization.packing;
  m.module = module;
  m.n_out = n_out;
  m.n_in = n_in;
  m.group_size = quantization.group_size < 0 ? n_in : quantization.group_size;
  if (n_in % 32 != 0 || n_out % 8 != 0 || n_in % m.group_size != 0) {
    fail(ErrorCode::unsupported,
         "{}: module '{}': [{}, {}], expected rows of whole groups of {} and blocks of 32, and a multiple of 8 rows",
         weights.source(), module, n_out, n_in, m.group_size);
  }
  m.n_groups = n_in / m.group_size;
  if (m.packing == HfPacking::awq_gemv) {
    m.zeros_width = gemv_width(m.n_groups, m.group_size);
    m.codes = &packed_tensor(weights, module + ".qweight", std::array{n_out, n_in / 8}, kWordTypes);
    m.zeros = &packed_tensor(weights, module + ".qzeros", std::array{n_out, m.zeros_width}, kWordTypes);
    m.scales = &packed_tensor(weights, module + ".scales", std::array{n_out, 8 * m.zeros_width}, kScaleTypes);
  } else {
    m.codes = &packed_tensor(weights, module + ".qweight", std::array{n_in, n_out / 8}, kWordTypes);
    m.zeros = &packed_tensor(weights, module + ".qzeros", std::array{m.n_groups, n_out / 8}, kWordTypes);
    m.scales = &packed_tensor(weights, module + ".scales", std::array{m.n_groups, n_out}, kScaleTypes);
  }
  return m;
}

}  // namespace thimble
