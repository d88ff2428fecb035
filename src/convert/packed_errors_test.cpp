// Packed folders that cannot be imported: one exact error each, naming file, tensor, found and expected.
#include <gtest/gtest.h>

#include "convert/test_packed_folder.h"
#include "format/safetensors.h"

namespace thimble {
namespace {

const std::string kUp = "model.layers.0.mlp.up_proj";

TEST(PackedErrors, MissingTensors) {
  for (const HfPacking packing : {HfPacking::gptq, HfPacking::awq_gemm, HfPacking::awq_gemv}) {
    for (const std::string part : {".qzeros", ".scales"}) {
      PackedFolder folder(packing, 64);
      const std::vector<int64_t> shape = folder.tensor(kUp + part).shape;
      std::erase_if(folder.tensors, [&](const TestTensor& t) { return t.name == kUp + part; });
      folder.save();
      EXPECT_EQ(folder.imported_error(), "corrupt: F/model.safetensors: tensor '" + kUp + part +
                                             "' is missing, expected it with shape " + format_shape(shape));
    }
  }
  PackedFolder folder(HfPacking::gptq, 64);
  std::erase_if(folder.tensors, [&](const TestTensor& t) { return t.name == kUp + ".qweight"; });
  folder.save();
  EXPECT_EQ(folder.imported_error(),
            "corrupt: F/model.safetensors: tensor '" + kUp + ".weight' is missing, expected it with shape [192, 128]");
}

TEST(PackedErrors, WrongShapes) {
  for (const std::string part : {".qweight", ".qzeros", ".scales", ".g_idx"}) {
    PackedFolder folder(HfPacking::gptq, 64);
    TestTensor& tensor = folder.tensor(kUp + part);
    const std::string expected = format_shape(tensor.shape);
    tensor.shape.push_back(1);
    folder.save();
    EXPECT_EQ(folder.imported_error(), "corrupt: F/model.safetensors: tensor '" + kUp + part + "' has shape " +
                                           format_shape(folder.tensor(kUp + part).shape) + ", expected " + expected +
                                           " from config.json");
  }
}

TEST(PackedErrors, WrongTypes) {
  PackedFolder folder(HfPacking::awq_gemm, 64);
  folder.tensor(kUp + ".qweight").dtype = "F32";
  folder.save();
  EXPECT_EQ(folder.imported_error(),
            "unsupported: F/model.safetensors: tensor '" + kUp + ".qweight' has elements of type F32, expected I32");
  PackedFolder scales(HfPacking::awq_gemm, 64);
  scales.tensor(kUp + ".scales").dtype = "I16";
  scales.save();
  EXPECT_EQ(scales.imported_error(), "unsupported: F/model.safetensors: tensor '" + kUp +
                                         ".scales' has elements of type I16, expected F16 or BF16 or F32");
}

TEST(PackedErrors, GroupsThatTheConfigurationContradicts) {
  PackedFolder folder(HfPacking::gptq, 64);
  folder.config["quantization_config"]["group_size"] = 32;
  folder.save();
  EXPECT_EQ(folder.imported_error(),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.self_attn.q_proj.qzeros' "
            "has shape [2, 16], expected [4, 16] from config.json");
  PackedFolder two(HfPacking::gptq, 64);
  two.save();
  two.write("quantize_config.json", R"({"bits": 4, "group_size": 128, "desc_act": false, "sym": true})");
  EXPECT_EQ(two.imported_error(),
            "corrupt: F/quantize_config.json: key 'group_size': found 128, expected 64 from config.json");
  two.write("quantize_config.json",
            R"({"bits": 4, "group_size": 64, "desc_act": false, "checkpoint_format": "gptq_v2"})");
  EXPECT_EQ(two.imported_error(),
            "corrupt: F/quantize_config.json: found the layout 'gptq_v2', expected 'gptq' from config.json");
}

TEST(PackedErrors, SymmetryThatTheZeroPointsContradict) {
  PackedFolder folder(HfPacking::gptq_v2, 64);
  folder.config["quantization_config"]["checkpoint_format"] = "gptq";
  folder.save();
  EXPECT_EQ(folder.imported_error(),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.self_attn.q_proj.qzeros': row 0, group 0: found the "
            "zero point 9, expected 8: quantization_config says 'sym'. The zero points of the formats gptq and gptq_v2 "
            "differ by 1: is its checkpoint_format right?");
}

TEST(PackedErrors, ActOrderWithoutStaticGroups) {
  PackedFolder folder(HfPacking::gptq, 32);
  folder.config["quantization_config"]["desc_act"] = true;
  folder.save();
  EXPECT_EQ(folder.imported_error(), "");  // static groups: g_idx says that columns lie by groups
  std::filesystem::remove(folder.output());
  std::vector<int32_t> order(128);
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i * 37 % 128 / 32);
  folder.tensor(kUp + ".g_idx").bytes = raw_bytes<int32_t>(order);
  folder.save();
  EXPECT_EQ(folder.imported_error(),
            "unsupported: F/model.safetensors: tensor '" + kUp +
                ".g_idx': column 1 is in group 1, expected 0: columns were grouped in order of activation (desc_act), "
                "which no block format can hold; quantize with static_groups or without desc_act");
  order[0] = -1;
  folder.tensor(kUp + ".g_idx").bytes = raw_bytes<int32_t>(order);
  folder.save();
  EXPECT_EQ(folder.imported_error(),
            "corrupt: F/model.safetensors: tensor '" + kUp + ".g_idx': column 0 is in group -1, expected less than 4");
  std::erase_if(folder.tensors, [&](const TestTensor& t) { return t.name == kUp + ".g_idx"; });
  folder.save();
  EXPECT_EQ(folder.imported_error(),
            "corrupt: F/model.safetensors: tensor '" + kUp + ".g_idx' is missing, expected it because of desc_act");
}

TEST(PackedErrors, ScalesThatAreNoScales) {
  for (const auto& [bits, found] : {std::pair(0x7E00, "NaN"), std::pair(0x7C00, "infinity")}) {
    PackedFolder folder(HfPacking::gptq, 64);
    const auto half = static_cast<uint16_t>(bits);
    std::memcpy(folder.tensor(kUp + ".scales").bytes.data() + 2 * (192 + 5), &half, sizeof(half));  // group 1, row 5
    folder.save();
    EXPECT_EQ(folder.imported_error(), "corrupt: F/model.safetensors: tensor '" + kUp +
                                           ".scales': row 5, group 1: found the scale " + found +
                                           ", expected a finite number");
  }
  PackedFolder large(HfPacking::awq_gemm, 64, any_zero);
  TestTensor& scales = large.tensor(kUp + ".scales");
  for (size_t i = 0; i < scales.bytes.size(); i += 2) scales.bytes[i + 1] = 0x7B;  // about 60000: times the zero point
  large.save();
  EXPECT_TRUE(large.imported_error().starts_with("unsupported: F/model.safetensors: tensor '" + kUp + ".scales': row "))
      << large.imported_error();
  EXPECT_EQ(large.imported_error(TensorType::q5_0), "");
}

TEST(PackedErrors, TypesThatCannotHoldIt) {
  PackedFolder folder(HfPacking::awq_gemm, 64, [](uint32_t) { return 7; });
  folder.save();
  EXPECT_EQ(folder.imported_error(TensorType::q4_0),
            "unsupported: F/model.safetensors: tensor 'model.layers.0.self_attn.q_proj.qzeros': row 0, group 0: found "
            "the zero point 7, expected 8 for q4_0; q4_1 and q5_0 hold any");
  EXPECT_EQ(
      folder.imported_error(TensorType::q4_k),
      "invalid argument: convert: output type q4_k, expected q4_0, q4_1, q5_0, q8_0, i4_g64, i4_g128, f16, bf16 or "
      "f32 for packed weights");
  TestFolder floats;
  floats.save();
  try {
    import_hf(floats.path(), floats.output(), TensorType::q4_0);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "convert: output type q4_0, expected f16, bf16 or f32");
  }
}

TEST(PackedErrors, WeightAndCodesOfOneModule) {
  PackedFolder folder(HfPacking::gptq, 64);
  folder.add_float(kUp + ".weight", {192, 128});
  folder.save();
  EXPECT_EQ(folder.imported_error(), "corrupt: F/model.safetensors: found both tensor '" + kUp + ".weight' and '" +
                                         kUp + ".qweight', expected one of them");
}

TEST(PackedErrors, BiasesThatLlamaDoesNotHave) {
  PackedFolder folder(HfPacking::gptq, 64);
  folder.add_float(kUp + ".bias", {192});
  folder.save();
  EXPECT_EQ(folder.imported_error(), "unsupported: F/model.safetensors: tensor '" + kUp +
                                         ".bias': found a bias, expected none or zeros in a LlamaForCausalLM");
}

TEST(PackedErrors, RowsThatNoBlockDivides) {
  PackedFolder folder(HfPacking::awq_gemm, 128);
  folder.config["intermediate_size"] = 264;
  folder.save();
  EXPECT_EQ(folder.imported_error(),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.gate_proj.qweight' has shape [128, 32], expected "
            "[128, 33] from config.json");
  folder.config["intermediate_size"] = 260;
  folder.save();
  EXPECT_EQ(
      folder.imported_error(),
      "unsupported: F/model.safetensors: module 'model.layers.0.mlp.gate_proj': [260, 128], expected rows of whole "
      "groups of 128 and blocks of 32, and a multiple of 8 rows");
}

TEST(PackedErrors, FloatConversionSendsToImport) {
  PackedFolder folder(HfPacking::awq_gemm, 128);
  folder.save();
  EXPECT_EQ(folder.error(),
            "unsupported: F/config.json: the weights are already quantized ('awq gemm'), expected float weights; "
            "`thimble convert` imports them");
}

TEST(PackedErrors, CancelledLeavesNothing) {
  PackedFolder folder(HfPacking::gptq, 64);
  folder.save();
  CancelToken cancel;
  cancel.cancel();
  Task task;
  task.cancel = &cancel;
  EXPECT_THROW(import_hf(folder.path(), folder.output(), std::nullopt, task), Error);
  EXPECT_FALSE(std::filesystem::exists(folder.output()));
}

}  // namespace
}  // namespace thimble
