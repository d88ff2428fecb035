// The layouts against what AutoGPTQ and AutoAWQ pack and read themselves: tests/golden/packed_int4, by
// scripts/make_packed_golden.py.
#include <gtest/gtest.h>

#include "base/json.h"
#include "convert/awq_checkpoint.h"
#include "convert/gptq_checkpoint.h"
#include "convert/test_hf_folder.h"

namespace thimble {
namespace {

// A JSON tensor as the safetensors file would have it.
TestTensor tensor_of(const std::string& name, const Json& tensor) {
  TestTensor out = {"m." + name, name == "scales" ? "F16" : "I32", tensor.at("shape").get<std::vector<int64_t>>(), ""};
  if (name == "scales") {
    std::vector<uint16_t> halves;
    for (const float value : tensor.at("values").get<std::vector<float>>()) halves.push_back(f32_to_f16(value));
    out.bytes = raw_bytes<uint16_t>(halves);
  } else {
    const auto words = tensor.at("values").get<std::vector<int32_t>>();
    out.bytes = raw_bytes<int32_t>(words);
  }
  return out;
}

TEST(PackedGolden, EqualsWhatThePackersReadBack) {
  const Json document =
      read_json_file(std::string(THIMBLE_SOURCE_DIR) + "/tests/golden/packed_int4/packed.json", 16 << 20);
  const auto n_in = document.at("n_in").get<int64_t>();
  const auto n_out = document.at("n_out").get<int64_t>();
  ASSERT_EQ(document.at("cases").size(), 10u);
  for (const Json& entry : document.at("cases")) {
    const auto kind = entry.at("kind").get<std::string>();
    SCOPED_TRACE(fmt::format("{} {}", kind, entry.at("group_size").get<int>()));
    std::vector<TestTensor> tensors;
    for (const auto& [name, tensor] : entry.at("tensors").items()) tensors.push_back(tensor_of(name, tensor));
    const std::string image = safetensors_image(tensors);
    const SafetensorsFile file = SafetensorsFile::parse(std::as_bytes(std::span(image)), "golden");
    HfQuantization quantization;
    quantization.packing = kind == "gptq"   ? HfPacking::gptq
                           : kind == "gemm" ? HfPacking::awq_gemm
                                            : HfPacking::awq_gemv;
    quantization.group_size = entry.at("group_size").get<int64_t>();
    const PackedMatrix m = (kind == "gptq" ? open_gptq : open_awq)(file, quantization, "m", n_out, n_in);

    const auto levels = entry.at("levels").get<std::vector<int>>();
    const auto row_scales = entry.at("row_scales").get<std::vector<float>>();
    std::vector<uint8_t> codes(static_cast<size_t>(n_in)), zeros(static_cast<size_t>(m.n_groups));
    std::vector<float> scales(zeros.size());
    for (int64_t o = 0; o < n_out; ++o) {
      read_codes(m, std::span(&o, 1), codes.data());
      read_groups(m, o, scales.data(), zeros.data());
      for (int64_t g = 0; g < m.n_groups; ++g) {
        ASSERT_EQ(scales[static_cast<size_t>(g)], row_scales[static_cast<size_t>(o * m.n_groups + g)])
            << o << ", " << g;
      }
      for (int64_t i = 0; i < n_in; ++i) {
        const int level = codes[static_cast<size_t>(i)] - zeros[static_cast<size_t>(i / m.group_size)];
        ASSERT_EQ(level, levels[static_cast<size_t>(o * n_in + i)]) << o << ", " << i;
      }
    }
  }
}

}  // namespace
}  // namespace thimble
