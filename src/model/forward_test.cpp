// The forward pass against the double-precision reference, and against itself: chunks, threads, cache types.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/cpu.h"
#include "base/error.h"
#include "model/model.h"
#include "model/reference_forward_test.h"
#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"

namespace thimble {
namespace {

struct Runner {
  explicit Runner(const ModelConfig& config, TensorType type = TensorType::f32, bool tied = false,
                  const SyntheticOptions& options = {}, int n_threads = 1)
      : pool(n_threads),
        synthetic(make_synthetic_model(config, synthetic_tensors(config, type, tied), options, pool)),
        model(synthetic.gguf, kernels::best_isa(host_cpu())) {}

  /// Logits of all positions, computed in chunks of `chunk` tokens.
  std::vector<float> logits(std::span<const int32_t> tokens, size_t chunk, ops::KvType kv = ops::KvType::f16) {
    KvCache cache(model.config(), kv, 64);
    ForwardPass forward(model, pool, 32, 64);
    std::vector<float> all;
    for (size_t pos = 0; pos < tokens.size(); pos += chunk) {
      const auto part = tokens.subspan(pos, std::min(chunk, tokens.size() - pos));
      const auto out = forward.run(part, static_cast<int64_t>(pos), cache, LogitsFor::all);
      all.insert(all.end(), out.begin(), out.end());
    }
    return all;
  }

  ThreadPool pool;
  SyntheticModel synthetic;
  Model model;
};

// Keys and values are rounded to halves (relative error 2^-11), everything else to floats. An error e of the inputs of
// the residual stream, whose values are near 1, reaches the logits, also near 1, as about e for each layer; the factor
// 4 covers the sum over the width.
double tolerance(const ModelConfig& config) {
  return 4.0 * static_cast<double>(config.n_layer) * 0x1p-11;
}

void expect_like_reference(const ModelConfig& config, bool tied = false, const SyntheticOptions& options = {}) {
  Runner runner(config, TensorType::f32, tied, options);
  const auto want = ReferenceForward(runner.synthetic.gguf).run(kTinyTokens);
  EXPECT_LT(largest_difference(runner.logits(kTinyTokens, kTinyTokens.size()), want), tolerance(config));
  EXPECT_LT(largest_difference(runner.logits(kTinyTokens, 1), want), tolerance(config));
}

TEST(Forward, LlamaEqualsTheReference) {
  expect_like_reference(tiny_config());
}

// Two sequences side by side, layer by layer, against run() over each alone: the same numbers, bit for bit.
TEST(Forward, OneLayerAtATimeEqualsTheWholeModel) {
  for (const char* architecture : {"llama", "qwen2"}) {
    for (const int n_threads : {1, 3}) {
      const ModelConfig config = tiny_config(architecture);
      Runner runner(config, TensorType::f16, false, {}, n_threads);
      ForwardPass forward(runner.model, runner.pool, 32, 64);
      ModelConfig one_layer = config;
      one_layer.n_layer = 1;
      KvCache cache(one_layer, ops::KvType::f16, 64);
      std::vector<int32_t> tokens(kTinyTokens.begin(), kTinyTokens.end());
      tokens.insert(tokens.end(), kTinyTokens.rbegin() + 3, kTinyTokens.rend());
      const std::vector<int64_t> lengths = {static_cast<int64_t>(kTinyTokens.size()),
                                            static_cast<int64_t>(tokens.size() - kTinyTokens.size())};
      std::vector<float> x(tokens.size() * static_cast<size_t>(config.n_embd));
      std::vector<std::pair<MatmulInput, int64_t>> seen;
      const auto tap = [&](MatmulInput which, const float*, int64_t n_tokens, int64_t n_in) {
        EXPECT_EQ(n_tokens, static_cast<int64_t>(tokens.size()));
        seen.emplace_back(which, n_in);
      };
      forward.embed(tokens, x.data());
      for (int64_t i = 0; i < config.n_layer; ++i) forward.run_layer(i, lengths, x.data(), cache, tap);
      std::vector<float> head;
      forward.show_output_input(x.data(), static_cast<int64_t>(tokens.size()),
                                [&](MatmulInput which, const float* h, int64_t n_tokens, int64_t n_in) {
                                  tap(which, h, n_tokens, n_in);
                                  head.assign(h, h + n_tokens * n_in);
                                });
      using Seen = std::pair<MatmulInput, int64_t>;
      const std::vector<Seen> layer = {{MatmulInput::qkv, config.n_embd},
                                       {MatmulInput::attn_output, config.n_embd_q()},
                                       {MatmulInput::gate_up, config.n_embd},
                                       {MatmulInput::ffn_down, config.n_ff}};
      std::vector<Seen> want;
      for (int64_t i = 0; i < config.n_layer; ++i) want.insert(want.end(), layer.begin(), layer.end());
      want.emplace_back(MatmulInput::output, config.n_embd);
      EXPECT_EQ(seen, want);

      std::vector<float> got(tokens.size() * static_cast<size_t>(config.n_vocab)), expected;
      ops::ActivationBuffer activations(static_cast<int64_t>(tokens.size()), config.n_embd);
      const ops::MatmulOutput output[] = {{&runner.model.output(), got.data()}};
      ops::matmul(ops::make_backend(runner.pool, runner.model.isa()), output, head.data(),
                  static_cast<int64_t>(tokens.size()), activations);
      const std::span<const int32_t> all = tokens;
      for (const auto part : {all.first(kTinyTokens.size()), all.subspan(kTinyTokens.size())}) {
        const auto logits = runner.logits(part, part.size());
        expected.insert(expected.end(), logits.begin(), logits.end());
      }
      EXPECT_EQ(got, expected);
    }
  }
}

TEST(Forward, LlamaWithBiasesEqualsTheReference) {
  ModelConfig config = tiny_config();
  config.has_qkv_bias = true;
  expect_like_reference(config);
}

TEST(Forward, Qwen2WithTiedHeadEqualsTheReference) {
  expect_like_reference(tiny_config("qwen2"), true);
}

TEST(Forward, HeadsWiderThanTheEmbeddingEqualTheReference) {
  ModelConfig config = tiny_config();
  config.head_dim = 32;
  config.n_rot = 16;  // the rest of each head does not rotate
  config.n_head_kv = 1;
  expect_like_reference(config);
}

TEST(Forward, LinearRopeScalingEqualsTheReference) {
  ModelConfig config = tiny_config();
  config.rope_freq_scale = 0.25f;
  expect_like_reference(config);
}

TEST(Forward, RopeFactorsEqualTheReference) {
  SyntheticOptions options;
  options.rope_factors = {1, 1, 1.5f, 2, 3, 8, 8, 8};
  expect_like_reference(tiny_config(), false, options);
}

TEST(Forward, SlidingWindowEqualsTheReference) {
  ModelConfig config = tiny_config();
  config.sliding_window = 4;
  expect_like_reference(config);
  // The test would be blind if the window did not matter.
  Runner windowed(config), full(tiny_config());
  const double difference = largest_difference(windowed.logits(kTinyTokens, 3), full.logits(kTinyTokens, 3));
  EXPECT_GT(difference, 10 * tolerance(config));
}

TEST(Forward, ChunksOfAPromptGiveTheSameLogits) {
  for (const TensorType type : {TensorType::f32, TensorType::f16, TensorType::q8_0, TensorType::q4_0}) {
    Runner runner(tiny_config(), type);
    const auto whole = runner.logits(kTinyTokens, kTinyTokens.size());
    for (const size_t chunk : {1u, 2u, 5u, 11u}) {
      // Kernels for one and for many tokens add in different orders, nothing more; but a float that rounds differently
      // may turn an int8 activation by one step (1/127 of its block's largest value).
      const double limit = type == TensorType::f32 || type == TensorType::f16 ? 1e-4 : 2e-2;
      EXPECT_LT(largest_difference(runner.logits(kTinyTokens, chunk), whole), limit)
          << traits(type).name << " in chunks of " << chunk;
    }
  }
}

TEST(Forward, ThreadsDoNotChangeTheLogits) {
  for (const TensorType type : {TensorType::f16, TensorType::q8_0}) {
    Runner one(tiny_config(), type), two(tiny_config(), type, false, {}, 2), three(tiny_config(), type, false, {}, 3);
    EXPECT_EQ(one.logits(kTinyTokens, 5), two.logits(kTinyTokens, 5)) << traits(type).name;
    EXPECT_EQ(one.logits(kTinyTokens, 5), three.logits(kTinyTokens, 5)) << traits(type).name;
  }
}

TEST(Forward, Int8CacheStaysCloseToHalves) {
  Runner runner(tiny_config());
  const auto halves = runner.logits(kTinyTokens, 4);
  const auto int8 = runner.logits(kTinyTokens, 4, ops::KvType::int8);
  // Rounding to 1/127 of the largest of a head: relative error up to 1/254, with queries rounded the same way.
  EXPECT_LT(largest_difference(int8, halves), 0.1);
  EXPECT_NE(int8, halves);
}

TEST(Forward, LastAndNoneAgreeWithAll) {
  Runner runner(tiny_config());
  const auto all = runner.logits(kTinyTokens, kTinyTokens.size());
  KvCache cache(runner.model.config(), ops::KvType::f16, 64);
  ForwardPass forward(runner.model, runner.pool, 32, 64);
  const std::span<const int32_t> tokens(kTinyTokens);
  EXPECT_TRUE(forward.run(tokens.first(7), 0, cache, LogitsFor::none).empty());
  const auto last = forward.run(tokens.subspan(7), 7, cache, LogitsFor::last);
  const size_t n_vocab = static_cast<size_t>(runner.model.config().n_vocab);
  ASSERT_EQ(last.size(), n_vocab);
  const std::vector<float> want(all.end() - static_cast<std::ptrdiff_t>(n_vocab), all.end());
  EXPECT_LT(largest_difference({last.begin(), last.end()}, want), 1e-4);
}

TEST(Forward, QuantizedWeightsFollowTheReference) {
  // The reference reads the same quantized weights: what differs is the rounding of activations to int8. With up to 256
  // values in a block, whose largest is about 3 standard deviations, one rounding has an error of 3 / 127 / sqrt(12) =
  // 0.007 standard deviations. 15 products one after the other add to sqrt(15) * 0.007 = 0.027 of logits that are near
  // 1; the worst of 1,600 logits is at 4 such deviations, 0.11. Twice that is the limit.
  ModelConfig config = tiny_config();
  config.n_embd = 256;
  config.head_dim = 64;
  config.n_rot = 64;
  config.n_ff = 512;
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized) continue;
    Runner runner(config, type.type);
    const std::span<const int32_t> tokens = std::span(kTinyTokens).first(6);
    const auto want = ReferenceForward(runner.synthetic.gguf).run(tokens);
    EXPECT_LT(largest_difference(runner.logits(tokens, 4), want), 0.22) << type.name;
  }
}

TEST(Forward, MemoryIsCountedBeforeItIsTaken) {
  Runner runner(tiny_config());
  const ForwardPass forward(runner.model, runner.pool, 32, 64);
  EXPECT_EQ(forward.scratch_bytes(), forward_scratch_bytes(runner.model.config(), 32, 64, 1));
  EXPECT_EQ(forward_scratch_bytes(runner.model.config(), int64_t{1} << 62, 64, 1), UINT64_MAX);
  const KvCache cache(runner.model.config(), ops::KvType::f16, 64);
  EXPECT_EQ(cache.bytes(), 64 * kv_bytes_per_token(runner.model.config(), ops::KvType::f16));
  const KvCache small(runner.model.config(), ops::KvType::int8, 64);
  EXPECT_EQ(small.bytes(), 64 * kv_bytes_per_token(runner.model.config(), ops::KvType::int8));
}

void expect_error(ErrorCode code, const std::function<void()>& body) {
  try {
    body();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
  }
}

TEST(Forward, AbsurdSizesAreErrors) {
  Runner runner(tiny_config());
  const ModelConfig& config = runner.model.config();
  for (const int64_t n_ctx : {int64_t{1} << 40, int64_t{1} << 55, INT64_MAX}) {
    for (const ops::KvType kv : {ops::KvType::f16, ops::KvType::int8}) {
      expect_error(ErrorCode::resource_exhausted, [&] { KvCache(config, kv, n_ctx); });
    }
    expect_error(ErrorCode::resource_exhausted, [&] { ForwardPass(runner.model, runner.pool, 32, n_ctx); });
    expect_error(ErrorCode::resource_exhausted, [&] { ForwardPass(runner.model, runner.pool, n_ctx, 32); });
  }
  expect_error(ErrorCode::invalid_argument, [&] { KvCache(config, ops::KvType::f16, 0); });
  expect_error(ErrorCode::invalid_argument, [&] { ForwardPass(runner.model, runner.pool, 0, 32); });
  expect_error(ErrorCode::invalid_argument, [&] { ForwardPass(runner.model, runner.pool, 32, -1); });
}

}  // namespace
}  // namespace thimble
