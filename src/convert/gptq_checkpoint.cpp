#include "convert/gptq_checkpoint.h"

#include <array>
#include <cstring>

#include "base/error.h"

namespace thimble {

namespace {

// g_idx[i]: the group of column i. With act-order the groups hold columns of similar activation, wherever they are; the
// formats written here can only share a scale between neighbours. With static groups they are neighbours again
// (auto_gptq/quantization/gptq.py, the last lines of fasterquant).
void check_groups(const SafetensorsFile& weights, const PackedMatrix& m) {
  const std::string name = m.module + ".g_idx";
  const SafetensorsTensor& order = packed_tensor(weights, name, std::array{m.n_in}, kWordTypes);
  for (int64_t i = 0; i < m.n_in; ++i) {
    int32_t group;
    std::memcpy(&group, order.data.data() + static_cast<size_t>(i) * sizeof(group), sizeof(group));
    if (group < 0 || group >= m.n_groups) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': column {} is in group {}, expected less than {}", weights.source(),
           name, i, group, m.n_groups);
    }
    if (group == i / m.group_size) continue;
    fail(ErrorCode::unsupported,
         "{}: tensor '{}': column {} is in group {}, expected {}: columns were grouped in order of activation "
         "(desc_act), which no block format can hold; quantize with static_groups or without desc_act",
         weights.source(), name, i, group, i / m.group_size);
  }
}

}  // namespace

PackedMatrix open_gptq(const SafetensorsFile& weights, const HfQuantization& quantization, const std::string& module,
                       int64_t n_out, int64_t n_in) {
  PackedMatrix m;
  m.packing = quantization.packing;
  m.module = module;
  m.n_out = n_out;
  m.n_in = n_in;
  m.group_size = quantization.group_size < 0 ? n_in : quantization.group_size;
  m.n_groups = (n_in + m.group_size - 1) / m.group_size;  // the last one may be short
  m.zeros_borrow = quantization.written_by_gptqmodel;
  if (n_in % 32 != 0 || n_out % 8 != 0) {
    fail(ErrorCode::unsupported,
         "{}: module '{}': [{}, {}], expected rows of a multiple of 32 and a multiple of 8 rows", weights.source(),
         module, n_out, n_in);
  }
  m.codes = &packed_tensor(weights, module + ".qweight", std::array{n_in / 8, n_out}, kWordTypes);
  m.zeros = &packed_tensor(weights, module + ".qzeros", std::array{m.n_groups, n_out / 8}, kWordTypes);
  m.scales = &packed_tensor(weights, module + ".scales", std::array{m.n_groups, n_out}, kScaleTypes);
  if (weights.find(module + ".g_idx") != nullptr) {
    check_groups(weights, m);
  } else if (quantization.act_order && !quantization.static_groups) {
    fail(ErrorCode::corrupt, "{}: tensor '{}.g_idx' is missing, expected it because of desc_act", weights.source(),
         module);
  }
  return m;
}

}  // namespace thimble
