#include "format/hf_quantization.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace thimble {
namespace {

std::string quantization_error(const Json& config, const std::string& method = "") {
  try {
    HfQuantization::parse(config, "t", method);
  } catch (const Error& e) {
    return fmt::format("{}: {}", error_code_name(e.code()), e.what());
  }
  return "";
}

// As AutoGPTQ 0.7 writes it.
Json gptq() {
  return {{"bits", 4},
          {"group_size", 128},
          {"desc_act", true},
          {"static_groups", true},
          {"sym", true},
          {"damp_percent", 0.01},
          {"true_sequential", true},
          {"quant_method", "gptq"},
          {"checkpoint_format", "gptq"},
          {"model_name_or_path", nullptr},
          {"model_file_base_name", "model"}};
}

Json with(Json config, const std::string& key, const Json& value) {
  config[key] = value;
  return config;
}

TEST(HfQuantization, ReadsWhatAutoGptqWrites) {
  const HfQuantization q = HfQuantization::parse(gptq(), "t");
  EXPECT_EQ(q.packing, HfPacking::gptq);
  EXPECT_EQ(q.group_size, 128);
  EXPECT_TRUE(q.act_order);
  EXPECT_TRUE(q.static_groups);
  EXPECT_EQ(q.symmetric, true);
  EXPECT_FALSE(q.written_by_gptqmodel);
}

TEST(HfQuantization, ReadsWhatGptqModelWrites) {
  Json config = {{"bits", 4},
                 {"group_size", -1},
                 {"desc_act", false},
                 {"sym", false},
                 {"format", "gptq_v2"},
                 {"quant_method", "gptq"},
                 {"pack_dtype", "int32"},
                 {"dynamic", nullptr},
                 {"lm_head", false},
                 {"meta", {{"quantizer", {"gptqmodel:2.2.0"}}, {"static_groups", true}}}};
  const HfQuantization q = HfQuantization::parse(config, "t");
  EXPECT_EQ(q.packing, HfPacking::gptq_v2);
  EXPECT_EQ(q.group_size, -1);
  EXPECT_FALSE(q.act_order);
  EXPECT_TRUE(q.static_groups);
  EXPECT_EQ(q.symmetric, false);
  EXPECT_TRUE(q.written_by_gptqmodel);
}

TEST(HfQuantization, ReadsWhatAutoAwqWrites) {
  Json config = {{"quant_method", "awq"}, {"zero_point", true},
                 {"group_size", 64},      {"bits", 4},
                 {"version", "gemv"},     {"modules_to_not_convert", nullptr}};
  EXPECT_EQ(HfQuantization::parse(config, "t").packing, HfPacking::awq_gemv);
  // quant_config.json of older folders.
  Json old = {{"zero_point", true}, {"q_group_size", 128}, {"w_bit", 4}, {"version", "GEMM"}};
  const HfQuantization q = HfQuantization::parse(old, "t", "awq");
  EXPECT_EQ(q.packing, HfPacking::awq_gemm);
  EXPECT_EQ(q.group_size, 128);
  EXPECT_EQ(q.symmetric, std::nullopt);
}

TEST(HfQuantization, RefusesWhatItCannotRead) {
  EXPECT_EQ(quantization_error({{"bits", 4}}),
            "unsupported: t: the weights are already quantized ('unnamed'), expected float weights, gptq or awq");
  EXPECT_EQ(quantization_error(with(gptq(), "bits", 8)), "unsupported: t: key 'bits': found 8, expected 4");
  EXPECT_EQ(quantization_error(with(gptq(), "group_size", 16)),
            "unsupported: t: key 'group_size': found 16, expected -1 or a multiple of 32");
  EXPECT_EQ(quantization_error(with(gptq(), "group_size", 0)),
            "corrupt: t: key 'group_size': found 0, expected -1 or a size");
  EXPECT_EQ(quantization_error(with(gptq(), "checkpoint_format", "marlin")),
            "unsupported: t: key 'checkpoint_format': found 'marlin', expected 'gptq' or 'gptq_v2'");
  EXPECT_EQ(quantization_error(with(gptq(), "is_marlin_format", true)),
            "unsupported: t: key 'is_marlin_format': found 'marlin', expected 'gptq' or 'gptq_v2'");
  EXPECT_EQ(quantization_error(with(gptq(), "pack_dtype", "int16")),
            "unsupported: t: key 'pack_dtype': found 'int16', expected 'int32'");
  EXPECT_EQ(quantization_error(with(gptq(), "dynamic", {{"-:lm_head", Json::object()}})),
            "unsupported: t: key 'dynamic': found object, expected none: settings that differ from module to module "
            "are not read");
  EXPECT_EQ(quantization_error({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 128}, {"version", "gemv_fast"}}),
            "unsupported: t: key 'version': found 'gemv_fast', expected 'gemm' or 'gemv'");
}

TEST(HfQuantization, RefusesAbsurdValues) {
  EXPECT_TRUE(quantization_error(Json::array()).starts_with("corrupt: t")) << quantization_error(Json::array());
  EXPECT_TRUE(quantization_error(with(gptq(), "group_size", "128")).starts_with("corrupt: t: key 'group_size'"));
  EXPECT_TRUE(quantization_error(with(gptq(), "group_size", -2)).starts_with("corrupt: t: key 'group_size'"));
  EXPECT_TRUE(quantization_error(with(gptq(), "desc_act", 1)).starts_with("corrupt: t: key 'desc_act'"));
  EXPECT_TRUE(quantization_error(with(gptq(), "meta", 1)).starts_with("corrupt: t: key 'meta'"));
  Json missing = gptq();
  missing.erase("bits");
  EXPECT_TRUE(quantization_error(missing).starts_with("corrupt: t: key 'bits'")) << quantization_error(missing);
}

}  // namespace
}  // namespace thimble
