// Plan arithmetic by hand, profiles and their errors, shapes.
#include "device/plan.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "device/shapes.h"
#include "model/model.h"
#include "model/synthetic_model.h"

namespace thimble {
namespace {

/// 2 layers, width 64, 4 heads of 16 (2 of keys and values), 96 wide FFN, 100 tokens.
ModelConfig tiny_config() {
  ModelConfig c;
  c.architecture = "llama";
  c.n_layer = 2;
  c.n_embd = 64;
  c.n_head = 4;
  c.n_head_kv = 2;
  c.head_dim = 16;
  c.n_ff = 96;
  c.n_vocab = 100;
  c.n_ctx_train = 1000;
  return c;
}

ModelFootprint tiny(TensorType matrix, bool tied) {
  const std::vector<GgufTensorPlan> tensors = synthetic_tensors(tiny_config(), matrix, tied);
  std::vector<SizedTensor> sized;
  for (const GgufTensorPlan& t : tensors) sized.push_back({t.name, t.ne, t.type});
  return footprint(tiny_config(), sized);
}

DeviceProfile round_device() {
  DeviceProfile d;
  d.name = "round";
  d.app_memory_bytes = 1'000'000;
  d.memory_bandwidth_gb_s = 2;
  d.bandwidth_efficiency = 0.5;  // 1e9 bytes/s
  d.int8_gops = 1000;
  d.compute_efficiency = 0.1;  // 1e11 ops/s
  d.watts_idle = 0.5;
  d.pj_per_byte = 1000;
  d.pj_per_op = 10;
  d.context = 500;
  return d;
}

// By hand: a layer has q 64*64, k and v 64*32 each, o 64*64, gate, up, down 64*96 each = 30720 weights; 61440 in two
// layers; the head 6400; norms 5 * 64 floats.
constexpr uint64_t kBody = 61440;
constexpr uint64_t kHead = 6400;
constexpr uint64_t kNormBytes = 5 * 64 * 4;

TEST(Footprint, CountsUntiedAndTiedModels) {
  const ModelFootprint untied = tiny(TensorType::f16, false);
  EXPECT_EQ(untied.weights_multiplied, kBody + kHead);
  EXPECT_EQ(untied.head_weights, kHead);
  EXPECT_EQ(untied.weight_bytes, 2 * (kBody + 2 * kHead) + kNormBytes);
  EXPECT_EQ(untied.bytes_read_per_token, 2 * (kBody + kHead + 64) + kNormBytes);  // one row of the embedding
  const ModelFootprint tied = tiny(TensorType::f16, true);
  EXPECT_EQ(tied.weights_multiplied, kBody + kHead);
  EXPECT_EQ(tied.weight_bytes, 2 * (kBody + kHead) + kNormBytes);
  EXPECT_EQ(tied.bytes_read_per_token, tied.weight_bytes);
}

TEST(Footprint, RefusesShapesThatDoNotFitTheType) {
  const SizedTensor bad[] = {{"blk.0.attn_q.weight", {80, 4, 1, 1}, TensorType::q4_k}};
  EXPECT_THROW(footprint(tiny_config(), bad), Error);
}

TEST(Plan, MemoryIsTheSumAndTheLargestContextIsExact) {
  const ModelFootprint model = tiny(TensorType::f16, false);
  const DeviceProfile device = round_device();
  // f16: 2 layers * (k and v) * 32 * 2 bytes = 256 bytes a token; int8: 32 + 2 scales of 4 bytes = 160.
  for (const auto& [kv, per_token] : {std::pair(ops::KvType::f16, 256u), std::pair(ops::KvType::int8, 160u)}) {
    const DevicePlan plan = make_plan(model, device, 0, kv, 16, 2);
    EXPECT_EQ(plan.context, 500);
    EXPECT_EQ(plan.kv_bytes, 500u * per_token);
    EXPECT_EQ(plan.activation_bytes, forward_scratch_bytes(model.config, 16, 500, 2));
    EXPECT_EQ(plan.total_bytes, plan.weight_bytes + plan.kv_bytes + plan.activation_bytes);
    EXPECT_TRUE(plan.fits);
    const auto fits = [&](int64_t context) { return make_plan(model, device, context, kv, 16, 2).fits; };
    EXPECT_TRUE(fits(plan.largest_context));
    EXPECT_EQ(plan.largest_context == 1000 || !fits(plan.largest_context + 1), true);
  }
}

TEST(Plan, NothingFitsASmallDevice) {
  const ModelFootprint model = tiny(TensorType::f16, false);
  DeviceProfile device = round_device();
  device.app_memory_bytes = model.weight_bytes;
  const DevicePlan plan = make_plan(model, device, 1, ops::KvType::f16, 1, 1);
  EXPECT_FALSE(plan.fits);
  EXPECT_EQ(plan.largest_context, 0);
  device.app_memory_bytes = make_plan(model, device, 7, ops::KvType::f16, 1, 1).total_bytes;
  EXPECT_EQ(make_plan(model, device, 1, ops::KvType::f16, 1, 1).largest_context, 7);
}

TEST(Plan, SpeedAndPowerByHand) {
  ModelFootprint model = tiny(TensorType::f16, false);
  model.bytes_read_per_token = 900'000;
  model.weights_multiplied = 1'000'000;
  model.head_weights = 200'000;
  DeviceProfile device = round_device();
  // 500 tokens of 256 bytes are 128,000 bytes: (900,000 + 128,000) / 1e9 s a token; 2e6 ops take 2e-5 s, less.
  DevicePlan plan = make_plan(model, device, 500, ops::KvType::f16, 100, 1);
  EXPECT_NEAR(plan.decode_tokens_per_s, 1e9 / 1'028'000, 1e-6);
  EXPECT_NEAR(plan.decode_tokens_per_s_empty, 1e9 / 900'000, 1e-6);
  // 1,028,000 bytes * 1000 pJ + 2e6 ops * 10 pJ = 1.048e-3 J over 1.028e-3 s, and 0.5 W.
  EXPECT_NEAR(plan.decode_watts, 0.5 + 1.048 / 1.028, 1e-9);
  EXPECT_NEAR(plan.joules_per_token, 1.048e-3 + 0.5 * 1.028e-3, 1e-12);
  // Prefill: 2 * 800,000 ops / 1e11 = 16 us a token; reading 9,000 bytes of its share takes 9 us.
  EXPECT_NEAR(plan.prefill_tokens_per_s, 1e6 / 16, 1e-6);
  EXPECT_NEAR(plan.prefill_watts, 0.5 + (9000 * 1000e-12 + 1.6e6 * 10e-12) / 16e-6, 1e-9);
  EXPECT_FALSE(plan.too_slow);
  EXPECT_FALSE(plan.too_hot);
  // A batch of one token has to read every weight: prefill is no faster than decode.
  plan = make_plan(model, device, 500, ops::KvType::f16, 1, 1);
  EXPECT_NEAR(plan.prefill_tokens_per_s, 1e9 / 900'000, 1e-6);
  device.min_decode_tokens_per_s = 1000;
  device.watts_limit = 1.5;
  plan = make_plan(model, device, 500, ops::KvType::f16, 100, 1);
  EXPECT_TRUE(plan.too_slow);
  EXPECT_TRUE(plan.too_hot);
}

TEST(Plan, SlowArithmeticBoundsDecode) {
  ModelFootprint model = tiny(TensorType::f16, false);
  DeviceProfile device = round_device();
  device.int8_gops = 0.1;  // 1e7 ops/s
  const DevicePlan plan = make_plan(model, device, 1, ops::KvType::f16, 8, 1);
  EXPECT_NEAR(plan.decode_tokens_per_s, 1e7 / (2.0 * (kBody + kHead)), 1e-9);
}

TEST(Plan, RefusesWhatCannotBePlanned) {
  const ModelFootprint model = tiny(TensorType::f16, false);
  const DeviceProfile device = round_device();
  EXPECT_THROW(make_plan(model, device, 1001, ops::KvType::f16, 8, 1), Error);
  EXPECT_THROW(make_plan(model, device, -1, ops::KvType::f16, 8, 1), Error);
  EXPECT_THROW(make_plan(model, device, 1, ops::KvType::f16, 0, 1), Error);
  EXPECT_THROW(make_plan(model, device, 1, ops::KvType::f16, 8, 0), Error);
}

TEST(Plan, AbsurdModelsDoNotOverflow) {
  ModelFootprint model = tiny(TensorType::f16, false);
  model.config.n_layer = 1024;
  model.config.n_head_kv = 1024;
  model.config.head_dim = 4096;
  model.config.n_ctx_train = int64_t{1} << 31;
  model.weight_bytes = UINT64_MAX - 5;
  const DevicePlan plan = make_plan(model, round_device(), int64_t{1} << 31, ops::KvType::f16, 1 << 20, 1024);
  EXPECT_FALSE(plan.fits);
  EXPECT_EQ(plan.total_bytes, UINT64_MAX);
  EXPECT_EQ(plan.largest_context, 0);
}

constexpr const char* kGoodProfile =
    "app_memory_bytes = 1000000000\nmemory_bandwidth_gb_s = 20\nbandwidth_efficiency = 0.5\nint8_gops = 100\n"
    "compute_efficiency = 0.5\n";

TEST(Profile, OptionalKeysHaveDefaults) {
  const DeviceProfile p = parse_device_profile(kGoodProfile, "folder/my-phone.toml");
  EXPECT_EQ(p.name, "my-phone");
  EXPECT_EQ(p.context, 2048);
  EXPECT_DOUBLE_EQ(p.decode_bytes_per_s(), 10e9);
  EXPECT_DOUBLE_EQ(p.prefill_ops_per_s(), 50e9);
  EXPECT_EQ(p.watts_limit, 0.0);
}

TEST(Profile, ErrorsNameFileLineAndKey) {
  const std::string good = kGoodProfile;
  const std::pair<std::string, std::string> cases[] = {
      {"", "key 'app_memory_bytes' is missing"},
      {good + "app_memory_mb = 5\n", "line 6: key 'app_memory_mb' is not known"},
      {good + "watts_limit = -1\n", "key 'watts_limit': found -1"},
      {good + "watts_limit = nan\n", "line 6: key 'watts_limit'"},
      {good + "context = 0\n", "line 6: key 'context': found 0"},
      {"app_memory_bytes = 1500\n" + good.substr(good.find('\n') + 1), "line 1: key 'app_memory_bytes': found 1500"},
      {good.substr(0, good.rfind("compute")) + "compute_efficiency = 1.5\n", "key 'compute_efficiency': found 1.5"},
      {good + "[extra]\n", "key 'extra' is not known"},
      {good + "name = \n", "line 6"},
  };
  for (const auto& [text, expected] : cases) {
    try {
      parse_device_profile(text, "p.toml");
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::corrupt);
      EXPECT_NE(std::string(e.what()).find("p.toml"), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find(expected), std::string::npos) << e.what() << "\nexpected " << expected;
    }
  }
  EXPECT_THROW(read_device_profile("/nonexistent.toml"), Error);
}

TEST(Profile, AllProfilesOfTheRepositoryAreValid) {
  int n_profiles = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(THIMBLE_SOURCE_DIR) + "/devices")) {
    const DeviceProfile p = read_device_profile(entry.path().string());
    EXPECT_EQ(p.name, entry.path().stem().string());
    EXPECT_FALSE(p.source.empty());
    ++n_profiles;
  }
  EXPECT_EQ(n_profiles, 4);
}

TEST(SlowProfile, TheHostIsMeasured) {
  const DeviceProfile p = measure_host(1);
  EXPECT_EQ(p.name, "host");
  EXPECT_GT(p.app_memory_bytes, 0u);
  EXPECT_GT(p.memory_bandwidth_gb_s, 0.0);
  EXPECT_GT(p.bandwidth_efficiency, 0.0);
  EXPECT_LE(p.bandwidth_efficiency, 1.0);
  EXPECT_GT(p.int8_gops, 0.0);
  EXPECT_THROW(measure_host(0), Error);
}

TEST(Shapes, ParameterCountsAreThePublishedOnes) {
  // Totals of the safetensors index of each checkpoint.
  const std::pair<const char*, int64_t> published[] = {
      {"smollm2-135m", 134515008},  {"qwen2.5-0.5b", 494032768}, {"tinyllama-1.1b", 1100048384},
      {"llama-3.2-1b", 1235814400}, {"mistral-7b", 7241732096},  {"llama-3.2-3b", 3212749824},
      {"qwen2.5-7b", 7615616512},   {"llama-3-8b", 8030261248},  {"llama-2-7b", 6738415616},
      {"qwen2.5-1.5b", 1543714304}, {"smollm2-1.7b", 1711376384}};
  EXPECT_EQ(std::size(published), model_shapes().size());
  for (const auto& [name, expected] : published) {
    const ModelShape& shape = find_model_shape(name);
    int64_t total = 0;
    for (const GgufTensorPlan& t : synthetic_tensors(shape.config, TensorType::f16, shape.tied_output)) {
      total += t.ne[0] * t.ne[1] * t.ne[2] * t.ne[3];
    }
    EXPECT_EQ(total, expected) << name;
  }
}

TEST(Shapes, AnUnknownNameListsTheKnownOnes) {
  try {
    find_model_shape("gpt-5");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("mistral-7b"), std::string::npos);
  }
}

}  // namespace
}  // namespace thimble
