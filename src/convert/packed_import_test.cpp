// Import of packed folders: what is written decodes to scale * (code - zero), whatever the layout, group and type.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "convert/awq_checkpoint.h"
#include "convert/gptq_checkpoint.h"
#include "convert/packed_int4.h"
#include "convert/tensor_plan.h"
#include "convert/test_packed_folder.h"
#include "format/gguf.h"
#include "format/gguf_summary.h"

namespace thimble {
namespace {

constexpr HfPacking kPackings[] = {HfPacking::gptq, HfPacking::gptq_v2, HfPacking::awq_gemm, HfPacking::awq_gemv};

// GGUF's name of a module's matrix, and its heads when rope reorders its rows.
struct Target {
  std::string name;
  int64_t permuted_heads = 0;
};

Target target_of(const std::string& module, bool llama) {
  const std::map<std::string, Target> targets = {{"q_proj", {"attn_q", llama ? 4 : 0}},
                                                 {"k_proj", {"attn_k", llama ? 2 : 0}},
                                                 {"v_proj", {"attn_v"}},
                                                 {"o_proj", {"attn_output"}},
                                                 {"gate_proj", {"ffn_gate"}},
                                                 {"up_proj", {"ffn_up"}},
                                                 {"down_proj", {"ffn_down"}}};
  Target target = targets.at(module.substr(module.rfind('.') + 1));
  target.name = "blk.0." + target.name + ".weight";
  return target;
}

// Largest |decoded - scale * (code - zero)| over all packed matrices, checking their type on the way.
double largest_difference(const PackedFolder& folder, TensorType type, bool llama = true) {
  const GgufFile gguf = GgufFile::open(folder.output());
  double largest = 0;
  for (const auto& [module, t] : folder.modules) {
    const Target target = target_of(module, llama);
    const TensorView& view = gguf.tensor(target.name).view;
    EXPECT_EQ(view.type, type) << module;
    EXPECT_EQ(view.ne[0], t.n_in);
    EXPECT_EQ(view.ne[1], t.n_out);
    std::vector<float> row(static_cast<size_t>(t.n_in));
    for (int64_t r = 0; r < t.n_out; ++r) {
      traits(view.type).decode(view.row(r), row.data(), t.n_in);
      const int64_t o = target.permuted_heads > 0 ? row_source(r, t.n_out, target.permuted_heads) : r;
      for (int64_t i = 0; i < t.n_in; ++i) {
        largest = std::max(
            largest, std::fabs(static_cast<double>(row[static_cast<size_t>(i)]) - static_cast<double>(t.weight(o, i))));
      }
    }
  }
  return largest;
}

TEST(PackedImport, SymmetricBecomesQ4_0Exactly) {
  for (const HfPacking packing : kPackings) {
    for (const int64_t group : {32, 64, 128, -1}) {
      SCOPED_TRACE(fmt::format("{} {}", hf_packing_name(packing), group));
      PackedFolder folder(packing, group);
      folder.save();
      const ConvertResult result = import_hf(folder.path(), folder.output(), std::nullopt);
      EXPECT_EQ(largest_difference(folder, TensorType::q4_0), 0.0);
      EXPECT_EQ(result.packing, hf_packing_name(packing));
      ASSERT_EQ(result.imported.size(), folder.modules.size());
      for (const ImportedTensor& tensor : result.imported) EXPECT_EQ(tensor.largest_change, 0.0);
    }
  }
}

TEST(PackedImport, AnyZeroPointBecomesQ4_1WithinTheStatedChange) {
  for (const HfPacking packing : kPackings) {
    for (const int64_t group : {32, 64, 128}) {
      SCOPED_TRACE(fmt::format("{} {}", hf_packing_name(packing), group));
      PackedFolder folder(packing, group, any_zero);
      folder.save();
      const ConvertResult result = import_hf(folder.path(), folder.output(), std::nullopt);
      double stated = 0, steps = 0;
      for (const ImportedTensor& tensor : result.imported) {
        stated = std::max(stated, tensor.largest_change);
        steps = std::max(steps, tensor.change_in_steps);
      }
      // m = -scale * zero is at most 15 scales; half a last place of f16 is at most 2^-11 of it.
      EXPECT_GT(steps, 0.0);
      EXPECT_LE(steps, 15 * 0x1p-11);
      EXPECT_DOUBLE_EQ(largest_difference(folder, TensorType::q4_1), stated);
      const GgufFile gguf = GgufFile::open(folder.output());
      EXPECT_EQ(gguf.get_float("thimble.import.change_in_steps"), static_cast<double>(static_cast<float>(steps)));
    }
  }
}

TEST(PackedImport, ZeroPointsThatArePowersOfTwoAreExactInQ4_1) {
  PackedFolder folder(HfPacking::awq_gemm, 64, [](uint32_t random) { return 1 << (random % 4); });
  folder.save();
  for (const ImportedTensor& tensor : import_hf(folder.path(), folder.output(), std::nullopt).imported) {
    EXPECT_EQ(tensor.largest_change, 0.0) << tensor.name;
  }
  EXPECT_EQ(largest_difference(folder, TensorType::q4_1), 0.0);
}

TEST(PackedImport, WiderTypesAreExactForAnyZeroPoint) {
  for (const TensorType type : {TensorType::q5_0, TensorType::q8_0, TensorType::f32}) {
    for (const HfPacking packing : kPackings) {
      PackedFolder folder(packing, 32, any_zero);
      folder.save();
      const ConvertResult result = import_hf(folder.path(), folder.output(), type);
      EXPECT_EQ(largest_difference(folder, type), 0.0);
      for (const ImportedTensor& tensor : result.imported) EXPECT_EQ(tensor.largest_change, 0.0);
    }
  }
}

TEST(PackedImport, F16StatesItsRounding) {
  PackedFolder folder(HfPacking::gptq, 32);
  folder.save();
  double stated = 0;
  for (const ImportedTensor& tensor : import_hf(folder.path(), folder.output(), TensorType::f16).imported) {
    stated = std::max(stated, tensor.largest_change);
  }
  const double found = largest_difference(folder, TensorType::f16);
  EXPECT_GT(found, 0.0);
  EXPECT_LE(found, stated);  // the statement is for all codes, whether they occur or not
}

TEST(PackedImport, GroupTypesKeepWholeGroups) {
  for (const auto& [group, type] : {std::pair(64, TensorType::i4_g64), std::pair(128, TensorType::i4_g128)}) {
    PackedFolder folder(HfPacking::awq_gemm, group, [](uint32_t random) { return 1 << (random % 4); });
    folder.save();
    import_hf(folder.path(), folder.output(), type);
    EXPECT_EQ(largest_difference(folder, type), 0.0);
    const GgufFile gguf = GgufFile::open(folder.output());
    ASSERT_NE(gguf.get_strings("thimble.features"), nullptr);
    EXPECT_EQ(gguf.get_strings("thimble.features")->front(), "group_types");
  }
  // Rows of 192 do not hold blocks of 128, groups of 32 none of 64.
  PackedFolder narrow(HfPacking::gptq, 128);
  narrow.save();
  import_hf(narrow.path(), narrow.output(), TensorType::i4_g128);
  EXPECT_EQ(GgufFile::open(narrow.output()).tensor("blk.0.ffn_up.weight").view.type, TensorType::i4_g128);
  EXPECT_EQ(GgufFile::open(narrow.output()).tensor("blk.0.ffn_down.weight").view.type, TensorType::i4_g64);
  PackedFolder small(HfPacking::gptq, 32);
  small.save();
  import_hf(small.path(), small.output(), TensorType::i4_g64);
  EXPECT_EQ(largest_difference(small, TensorType::q4_1), 0.0);
}

TEST(PackedImport, Qwen2KeepsRowsAndBiases) {
  PackedFolder folder(HfPacking::gptq, 64, {}, "Qwen2ForCausalLM");
  folder.save();
  import_hf(folder.path(), folder.output(), std::nullopt);
  EXPECT_EQ(largest_difference(folder, TensorType::q4_0, false), 0.0);
  EXPECT_NE(GgufFile::open(folder.output()).find_tensor("blk.0.attn_q.bias"), nullptr);
}

TEST(PackedImport, EmbeddingNormsAndHeadStayFloat) {
  PackedFolder folder(HfPacking::awq_gemm, 128, any_zero);
  folder.save();
  import_hf(folder.path(), folder.output(), TensorType::q5_0);
  const GgufFile gguf = GgufFile::open(folder.output());
  EXPECT_EQ(gguf.tensor("token_embd.weight").view.type, TensorType::f16);
  EXPECT_EQ(gguf.tensor("output.weight").view.type, TensorType::f16);
  EXPECT_EQ(gguf.tensor("blk.0.attn_norm.weight").view.type, TensorType::f32);
  EXPECT_EQ(gguf.get_uint("general.file_type", 0, 2000), 8u);
  EXPECT_EQ(gguf.get_string("thimble.import"), "awq gemm");
  EXPECT_EQ(std::get<int32_t>(gguf.find("thimble.import.group_size")->value), 128);
}

TEST(PackedImport, ModulesLeftInFloatAreConverted) {
  PackedFolder folder(HfPacking::gptq, 32);
  std::erase_if(folder.tensors, [](const TestTensor& t) { return t.name.starts_with("model.layers.0.mlp.up_proj."); });
  folder.add_float("model.layers.0.mlp.up_proj.weight", {192, 128});
  folder.save();
  import_hf(folder.path(), folder.output(), std::nullopt);
  const GgufFile gguf = GgufFile::open(folder.output());
  EXPECT_EQ(gguf.tensor("blk.0.ffn_up.weight").view.type, TensorType::f16);
  EXPECT_EQ(gguf.tensor("blk.0.ffn_down.weight").view.type, TensorType::q4_0);
}

TEST(PackedImport, BiasesOfZerosAreLeftOut) {
  PackedFolder folder(HfPacking::gptq, 32);
  folder.tensors.push_back({"model.layers.0.mlp.up_proj.bias", "F16", {192}, std::string(384, '\0')});
  folder.save();
  EXPECT_EQ(folder.imported_error(), "");
}

TEST(PackedImport, TheHeadMayBePacked) {
  PackedFolder folder(HfPacking::gptq_v2, 64);
  std::erase_if(folder.tensors, [](const TestTensor& t) { return t.name == "lm_head.weight"; });
  const TestCodes head = test_codes(8, 128, 64, 99);
  for (TestTensor& t : pack_module("lm_head", head, HfPacking::gptq_v2)) folder.tensors.push_back(std::move(t));
  folder.save();
  import_hf(folder.path(), folder.output(), std::nullopt);
  const GgufFile gguf = GgufFile::open(folder.output());
  const TensorView& view = gguf.tensor("output.weight").view;
  ASSERT_EQ(view.type, TensorType::q4_0);
  std::vector<float> row(128);
  traits(view.type).decode(view.row(7), row.data(), 128);
  for (int64_t i = 0; i < 128; ++i) EXPECT_EQ(row[static_cast<size_t>(i)], head.weight(7, i));
}

TEST(PackedImport, OldSettingsFilesStandIn) {
  PackedFolder folder(HfPacking::gptq, 32);
  folder.config.erase("quantization_config");
  folder.save();
  folder.write("quantize_config.json", R"({"bits": 4, "group_size": 32, "desc_act": false, "sym": true})");
  EXPECT_EQ(folder.imported_error(), "");
  EXPECT_EQ(largest_difference(folder, TensorType::q4_0), 0.0);
}

TEST(PackedImport, TheOnlyWeightsMayHaveAnotherName) {
  PackedFolder folder(HfPacking::gptq, 32);
  folder.save();
  std::filesystem::rename(folder.path() + "/model.safetensors", folder.path() + "/gptq_model-4bit-32g.safetensors");
  EXPECT_EQ(folder.imported_error(), "");
  std::filesystem::remove(folder.output());
  std::filesystem::copy(folder.path() + "/gptq_model-4bit-32g.safetensors", folder.path() + "/other.safetensors");
  EXPECT_TRUE(folder.imported_error().starts_with("not found: F: no model.safetensors")) << folder.imported_error();
}

// A zero point of 0 as GPTQModel stores it under "gptq": 0x11111111 taken from the whole word, borrows included.
TEST(PackedImport, BorrowsBetweenZeroPointsAreUndone) {
  PackedFolder folder(HfPacking::gptq_v2, 32, [](uint32_t random) { return static_cast<int>(random % 16); });
  for (TestTensor& t : folder.tensors) {
    if (!t.name.ends_with(".qzeros")) continue;
    for (size_t i = 0; i < t.bytes.size(); i += 4) {
      uint32_t word;
      std::memcpy(&word, t.bytes.data() + i, 4);
      word -= 0x11111111u;
      std::memcpy(t.bytes.data() + i, &word, 4);
    }
  }
  folder.config["quantization_config"]["checkpoint_format"] = "gptq";
  folder.config["quantization_config"]["meta"] = {{"quantizer", {"gptqmodel:2.2.0"}}};
  folder.save();
  import_hf(folder.path(), folder.output(), TensorType::q5_0);
  EXPECT_EQ(largest_difference(folder, TensorType::q5_0), 0.0);
}

TEST(PackedImport, StockLoadsWhatStockHasTypesFor) {
  PackedFolder folder(HfPacking::awq_gemm, 128, any_zero);
  folder.save();
  import_hf(folder.path(), folder.output(), std::nullopt);
  for (const std::string& reason : stock_obstacles(GgufFile::open(folder.output()))) {
    EXPECT_EQ(reason.find("thimble."), std::string::npos) << reason;
  }
}

}  // namespace
}  // namespace thimble
