// Targets become recipes, and recipes files of at most the size asked for, to the byte.
#include "quantize/allocation_plan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "model/synthetic_model.h"
#include "quantize/sensitivity_test_model.h"

namespace thimble {
namespace {

TEST(TargetSize, ReadsUnitsOfBothKinds) {
  EXPECT_EQ(parse_target_size("4330784").value, 4330784.0);
  EXPECT_EQ(parse_target_size("3.6GB").value, 3.6e9);
  EXPECT_EQ(parse_target_size("900 mb").value, 9e8);
  EXPECT_EQ(parse_target_size("1.5KiB").value, 1536.0);
  EXPECT_EQ(parse_target_size("2GiB").value, 2147483648.0);
  EXPECT_EQ(parse_target_size("10.7B").value, 10.0);
  for (const char* bad : {"", "GB", "3.6 gigabytes", "-1GB", "0", "nan", "inf", "1e300GB", "3,6GB", "0x10"}) {
    EXPECT_THROW(parse_target_size(bad), Error) << bad;
  }
}

class AllocationPlanTest : public testing::Test {
 protected:
  AllocationPlanTest() : synthetic_(make()) {}
  ~AllocationPlanTest() override { std::filesystem::remove_all(folder_); }

  SyntheticModel make() {
    ModelConfig c = sensitivity_config();
    c.n_embd = c.n_ff = 256;
    c.head_dim = c.n_rot = 64;
    return make_synthetic_model(c, synthetic_tensors(c, TensorType::f16, false), {}, pool_);
  }
  // Losses that fall with the square of the step, other for every tensor.
  std::vector<TypeLoss> losses(std::span<const AllocatableTensor> tensors) {
    std::vector<TypeLoss> out;
    double scale = 1;
    for (const AllocatableTensor& tensor : tensors) {
      scale = scale * 1.7 > 10 ? 0.1 : scale * 1.7;
      for (const TensorType type : tensor.types) {
        out.push_back({tensor.name, type, scale * std::pow(4.0, -traits(type).bits_per_weight())});
      }
    }
    return out;
  }
  AllocationPlan plan(const SizeTarget& target, const Recipe& base, const AllocationTypes& types = {}) {
    const auto tensors = allocatable_tensors(gguf(), base, target, types);
    return plan_allocation(gguf(), base, tensors, losses(tensors), target,
                           [&](const Recipe& recipe) { return plan_quantize(gguf(), recipe); });
  }
  const GgufFile& gguf() const { return synthetic_.gguf; }
  TensorType type_of(const AllocationPlan& p, std::string_view name) {
    for (const QuantizedTensor& t : p.sizes.tensors) {
      if (t.name == name) return t.to;
    }
    ADD_FAILURE() << name;
    return TensorType::f64;
  }

  ThreadPool pool_{2};
  SyntheticModel synthetic_;
  Recipe base_ = recipe_from_scheme("q4_k_m");
  std::string folder_ =
      (std::filesystem::temp_directory_path() / fmt::format("thimble_allocation_{}", ::getpid())).string();
};

TEST_F(AllocationPlanTest, TheFileIsNeverLargerThanTheTargetAndCloseToIt) {
  const uint64_t largest = plan_quantize(gguf(), recipe_from_scheme("q6_k")).file_bytes;
  const uint64_t smallest = plan_quantize(gguf(), recipe_from_scheme("iq4_xs")).file_bytes;
  std::filesystem::create_directories(folder_);
  const std::string path = folder_ + "/out.gguf";
  for (uint64_t size = smallest + 1; size < largest; size += 10007) {
    const SizeTarget target{SizeTarget::Measure::file_bytes, static_cast<double>(size)};
    const AllocationPlan p = plan(target, base_);
    EXPECT_LE(p.sizes.file_bytes, size);
    EXPECT_EQ(p.sizes.file_bytes + p.bytes_left, size);
    EXPECT_LT(p.bytes_left, 20000u);
    EXPECT_EQ(p.loss, p.loss_bound);
    if ((size - smallest) / 10007 % 16 != 0) continue;
    quantize(gguf(), path, p.recipe, {}, pool_);
    EXPECT_EQ(std::filesystem::file_size(path), p.sizes.file_bytes);
  }
}

TEST_F(AllocationPlanTest, ATargetInBitsHoldsForThoseWeights) {
  for (const double bits : {3.6, 4.25, 4.5, 5.01}) {
    const AllocationPlan total = plan({SizeTarget::Measure::bits_per_weight, bits}, base_);
    EXPECT_LE(total.sizes.bits_per_weight, bits);
    EXPECT_GT(total.sizes.bits_per_weight, bits - 0.1);
    const AllocationPlan body = plan({SizeTarget::Measure::body_bits_per_weight, bits}, base_);
    EXPECT_LE(body.sizes.body_bits_per_weight, bits);
    EXPECT_GT(body.sizes.body_bits_per_weight, bits - 0.1);
    // Embedding and head stay as the scheme has them.
    EXPECT_EQ(type_of(body, "token_embd.weight"), TensorType::q4_k);
    EXPECT_EQ(type_of(body, "output.weight"), TensorType::q6_k);
  }
}

TEST_F(AllocationPlanTest, RulesComeFirst) {
  Recipe base = base_;
  base.rules = {{"*.attn_v.weight", TensorType::q8_0}, {"output.weight", TensorType::f16}};
  const AllocationPlan p = plan({SizeTarget::Measure::bits_per_weight, 6.0}, base);
  EXPECT_EQ(type_of(p, "blk.0.attn_v.weight"), TensorType::q8_0);
  EXPECT_EQ(type_of(p, "blk.1.attn_v.weight"), TensorType::q8_0);
  EXPECT_EQ(type_of(p, "output.weight"), TensorType::f16);
  EXPECT_LE(p.sizes.bits_per_weight, 6.0);
}

TEST_F(AllocationPlanTest, ChoosesOnlyFromTheTypesGivenAndFast) {
  AllocationTypes types;
  types.fast = {TensorType::q4_0, TensorType::q4_k, TensorType::q6_k};
  const AllocationPlan fast = plan({SizeTarget::Measure::file_bytes, 1e6}, base_, types);
  for (const RecipeRule& rule : fast.recipe.rules) {
    EXPECT_TRUE(rule.type == TensorType::q4_k || rule.type == TensorType::q6_k) << rule.match;
  }
  types.candidates = {TensorType::q4_0, TensorType::q8_0};
  const AllocationPlan only = plan({SizeTarget::Measure::file_bytes, 1e6}, base_, types);
  for (const RecipeRule& rule : only.recipe.rules) EXPECT_EQ(rule.type, TensorType::q4_0);
  types.candidates = {TensorType::q8_0};
  EXPECT_THROW(plan({SizeTarget::Measure::file_bytes, 1e6}, base_, types), Error);
}

TEST_F(AllocationPlanTest, NamesTheSmallestSizeWhenTheTargetIsBelowIt) {
  AllocationTypes types;
  types.candidates = {TensorType::q4_k, TensorType::q6_k};
  const auto message = [&](const SizeTarget& target) {
    try {
      plan(target, base_, types);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      return std::string(e.what());
    }
    ADD_FAILURE() << "no error";
    return std::string();
  };
  const std::string text = message({SizeTarget::Measure::file_bytes, 1000});
  const size_t at = text.find("at least ");
  ASSERT_NE(at, std::string::npos) << text;
  // The size it names can be reached, and one byte less cannot.
  const double smallest = std::stod(text.substr(at + 9));
  EXPECT_EQ(static_cast<double>(plan({SizeTarget::Measure::file_bytes, smallest}, base_, types).sizes.file_bytes),
            smallest);
  message({SizeTarget::Measure::file_bytes, smallest - 1});
  const std::string bits = message({SizeTarget::Measure::body_bits_per_weight, 2.0});
  // 4.5 bits of all matrices; the norms are f32.
  EXPECT_NE(bits.find("at least 4.5"), std::string::npos) << bits;
}

TEST_F(AllocationPlanTest, RefusesMissingLossesAndModelsOfWhichRulesNameEverything) {
  const SizeTarget target{SizeTarget::Measure::file_bytes, 1e6};
  const auto tensors = allocatable_tensors(gguf(), base_, target, {});
  auto known = losses(tensors);
  known.pop_back();
  const PlanFn plan_fn = [&](const Recipe& recipe) { return plan_quantize(gguf(), recipe); };
  EXPECT_THROW(plan_allocation(gguf(), base_, tensors, known, target, plan_fn), Error);
  Recipe all = base_;
  all.rules = {{"*", TensorType::q4_k}};
  EXPECT_THROW(allocatable_tensors(gguf(), all, target, {}), Error);
}

}  // namespace
}  // namespace thimble
