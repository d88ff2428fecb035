// A model with one matrix replaced against the model of a file that has the other values in that place.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "base/error.h"
#include "model/model.h"
#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"

namespace thimble {
namespace {

std::vector<float> logits(const Model& model, ThreadPool& pool) {
  KvCache cache(model.config(), ops::KvType::f16, 64);
  ForwardPass forward(model, pool, 32, 64);
  const auto out = forward.run(std::span(kTinyTokens).first(7), 0, cache, LogitsFor::all);
  return {out.begin(), out.end()};
}

class ModelReplace : public testing::TestWithParam<bool> {
 protected:
  ModelReplace()
      : synthetic_(make_synthetic_model(tiny_config(), synthetic_tensors(tiny_config(), TensorType::f32, GetParam()),
                                        {}, pool_)) {}

  // The file with the values of one tensor negated.
  SyntheticModel negated(std::string_view name) {
    SyntheticModel out{AlignedBuffer<std::byte>(synthetic_.image.size()), {}};
    std::memcpy(out.image.data(), synthetic_.image.data(), synthetic_.image.size());
    const std::span<const std::byte> data = synthetic_.gguf.tensor(name).view.data;
    auto* values = reinterpret_cast<float*>(out.image.data() + (data.data() - synthetic_.image.data()));
    std::transform(values, values + data.size() / sizeof(float), values, [](float v) { return -v; });
    out.gguf = GgufFile::parse(std::span<const std::byte>(out.image.data(), out.image.size()), "negated");
    return out;
  }

  ThreadPool pool_{1};
  SyntheticModel synthetic_;
};

TEST_P(ModelReplace, GivesTheLogitsOfTheOtherFileAndBack) {
  const kernels::Isa isa = kernels::best_isa(host_cpu());
  Model model(synthetic_.gguf, isa);
  const std::vector<float> before = logits(model, pool_);
  std::vector<std::string_view> names = {"token_embd.weight",        "blk.0.attn_q.weight",   "blk.1.attn_v.weight",
                                         "blk.0.attn_output.weight", "blk.0.ffn_gate.weight", "blk.1.ffn_down.weight"};
  if (!GetParam()) names.push_back("output.weight");
  for (const std::string_view name : names) {
    const SyntheticModel other = negated(name);
    const TensorView original = model.matrix(name);
    model.replace_matrix(name, other.gguf.tensor(name).view);
    EXPECT_EQ(logits(model, pool_), logits(Model(other.gguf, isa), pool_)) << name;
    EXPECT_NE(logits(model, pool_), before) << name;
    model.replace_matrix(name, original);
    EXPECT_EQ(logits(model, pool_), before) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, ModelReplace, testing::Values(false, true),
                         [](const auto& tied) { return tied.param ? "Tied" : "Own"; });

TEST(ModelReplaceErrors, UnknownNamesOtherShapesAndShortDataChangeNothing) {
  ThreadPool pool(1);
  const auto synthetic =
      make_synthetic_model(tiny_config(), synthetic_tensors(tiny_config(), TensorType::f32, false), {}, pool);
  Model model(synthetic.gguf, kernels::best_isa(host_cpu()));
  const std::vector<float> before = logits(model, pool);
  const TensorView down = model.matrix("blk.0.ffn_down.weight");
  EXPECT_THROW(model.replace_matrix("blk.9.ffn_down.weight", down), Error);
  EXPECT_THROW(model.replace_matrix("blk.0.attn_norm.weight", down), Error);
  EXPECT_THROW(model.replace_matrix("blk.0.ffn_up.weight", down), Error);
  TensorView shorter = down;
  shorter.data = down.data.first(down.data.size() - 4);
  EXPECT_THROW(model.replace_matrix("blk.0.ffn_down.weight", shorter), Error);
  EXPECT_EQ(logits(model, pool), before);
}

}  // namespace
}  // namespace thimble
