// Calibrations built in memory and as files: what goes in comes out, and what does not belong is refused.
#include "calibrate/calibration.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "base/error.h"
#include "calibrate/calibration_format.h"
#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"

namespace thimble {
namespace {

CalibrationEntry small_entry() {
  CalibrationEntry entry;
  entry.name = "blk.0.attn_qkv";
  entry.weights = {"blk.0.attn_q.weight", "blk.0.attn_k.weight"};
  entry.statistics = {3, 10, {1, 2, 3}, {0.5f, 1, 1.5f}, {2, 4, 6}};
  entry.second_moment = {1, 0.1f, 0.2f, 0.1f, 2, 0.3f, 0.2f, 0.3f, 3};
  entry.heldout = {1, 2, 3, 4, 5, 6};
  return entry;
}

CalibrationInfo small_info() {
  return {"", "small", "a test", 7, 1, 10, 16};
}

ErrorCode code_of(const std::function<void()>& action, std::string* message = nullptr) {
  try {
    action();
  } catch (const Error& e) {
    if (message != nullptr) *message = e.what();
    return e.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::internal;
}

TEST(Calibration, GivesBackWhatWasPutIn) {
  const CalibrationEntry entry = small_entry();
  const std::vector<float> counts = {0, 4, 6};
  const Calibration c = Calibration::from_entries(small_info(), std::span(&entry, 1), counts);
  EXPECT_EQ(c.info().model_name, "small");
  EXPECT_EQ(c.info().n_sequences, 7);
  EXPECT_EQ(c.info().n_heldout_sequences, 1);
  EXPECT_EQ(c.inputs(), std::vector<std::string>{"blk.0.attn_qkv"});
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_qkv"}) {
    EXPECT_EQ(c.input_of(name), "blk.0.attn_qkv");
    const InputStatistics* s = c.find(name);
    ASSERT_NE(s, nullptr);
    EXPECT_EQ(s->n_in, 3);
    EXPECT_EQ(s->n_tokens, 10);
    EXPECT_EQ(s->mean_square, entry.statistics.mean_square);
    EXPECT_EQ(s->mean_abs, entry.statistics.mean_abs);
    EXPECT_EQ(s->max_abs, entry.statistics.max_abs);
    ASSERT_TRUE(c.has_second_moment(name));
    const SecondMoment h = c.second_moment(name);
    EXPECT_EQ(h.values, entry.second_moment);
    EXPECT_EQ(h.n_tokens, 10);
    EXPECT_EQ(h.row(1)[2], 0.3f);
    const HeldOut rows = c.heldout(name);
    ASSERT_EQ(rows.n_rows, 2);
    EXPECT_EQ(rows.row(1)[2], 6.0f);
  }
  EXPECT_EQ(c.find("blk.0.ffn_down.weight"), nullptr);
  EXPECT_EQ(c.heldout("blk.0.ffn_down.weight").n_rows, 0);
  EXPECT_FALSE(c.has_second_moment("blk.0.ffn_down.weight"));
  EXPECT_EQ(code_of([&] { c.second_moment("blk.0.ffn_down.weight"); }), ErrorCode::not_found);
  EXPECT_TRUE(std::equal(counts.begin(), counts.end(), c.token_counts().begin(), c.token_counts().end()));
  const Importance importance = c.importance();
  EXPECT_EQ(importance.size(), 2u);
  EXPECT_EQ(importance.at("blk.0.attn_k.weight"), entry.statistics.mean_square);
}

TEST(Importance, HashIsThatOfNamesAndValues) {
  const Importance a = {{"x", {1.0f, 2.0f}}, {"y", {3.0f}}};
  const Importance same = {{"y", {3.0f}}, {"x", {1.0f, 2.0f}}};
  EXPECT_EQ(importance_hash(a), importance_hash(same));
  for (const Importance& other :
       {Importance{}, Importance{{"x", {1.0f, 2.0f}}}, Importance{{"x", {1.0f}}, {"y", {3.0f}}},
        Importance{{"x", {1.0f, 2.0f}}, {"z", {3.0f}}}, Importance{{"x", {1.0f, 2.0f}}, {"y", {4.0f}}}}) {
    EXPECT_NE(importance_hash(a), importance_hash(other));
  }
}

// More columns than the squares in which the triangle is mirrored.
TEST(Calibration, MirrorsLargeTriangles) {
  CalibrationEntry entry;
  const int64_t n = 150;
  entry.name = "x";
  entry.weights = {"x.weight"};
  entry.statistics = {n, 1, std::vector<float>(150, 1.0f), {}, {}};
  for (int64_t i = 0; i < n * n; ++i) {
    entry.second_moment.push_back(static_cast<float>(std::min(i / n, i % n) * n + std::max(i / n, i % n)));
  }
  const Calibration c = Calibration::from_entries(small_info(), std::span(&entry, 1));
  EXPECT_EQ(c.second_moment("x.weight").values, entry.second_moment);
  EXPECT_TRUE(c.find("x")->mean_abs.empty());
}

TEST(Calibration, RefusesEntriesThatContradictThemselves) {
  const auto refused = [](const std::function<void(CalibrationEntry&)>& spoil) {
    CalibrationEntry entry = small_entry();
    spoil(entry);
    return code_of([&] { Calibration::from_entries(small_info(), std::span(&entry, 1)); });
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(refused([](auto& e) { e.statistics.mean_square.pop_back(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.statistics.mean_abs.pop_back(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.second_moment.pop_back(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.heldout.pop_back(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&](auto& e) { e.heldout[0] = nan; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([&](auto& e) { e.second_moment[0] = nan; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.statistics.mean_square[0] = -1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.statistics.n_in = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.weights[1] = e.weights[0]; }), ErrorCode::corrupt);
}

// Images whose lists or shapes disagree; each is one change away from a valid one.
TEST(Calibration, RefusesHostileFiles) {
  CalibrationInputPlan input = {"x", {"x.weight"}, 4, 1, 9, true, true, 2};
  const auto refused = [&](const std::function<void(CalibrationLayout&)>& spoil, float value = 1.0f) {
    CalibrationLayout layout = plan_calibration(small_info(), "", 5, {input});
    spoil(layout);
    const std::vector<std::byte> header = gguf_header(layout.metadata, layout.tensors);
    AlignedBuffer<std::byte> image(gguf_file_bytes(layout.metadata, layout.tensors));
    std::memcpy(image.data(), header.data(), header.size());
    for (size_t i = header.size(); i + 4 <= image.size(); i += 4) std::memcpy(image.data() + i, &value, 4);
    const Calibration c = Calibration::from_gguf(GgufFile::parse({image.data(), image.size()}, "hostile"));
    (void)c.second_moment("x");
    (void)c.heldout("x");
  };
  const auto code = [&](const std::function<void(CalibrationLayout&)>& spoil, float value = 1.0f) {
    return code_of([&] { refused(spoil, value); });
  };
  EXPECT_NO_THROW(refused([](auto&) {}));
  EXPECT_EQ(code([](auto& l) { l.metadata.set_uint32(kKeyVersion, 2); }), ErrorCode::unsupported);
  EXPECT_EQ(code([](auto& l) { l.metadata.set_string("general.type", "model"); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code([](auto& l) { l.metadata.remove(kKeyWeights); }), ErrorCode::corrupt);
  const std::vector<int32_t> beyond = {1}, negative = {-1}, two = {0, 0};
  EXPECT_EQ(code([&](auto& l) { l.metadata.set_int32s(kKeyWeightInputs, beyond); }), ErrorCode::corrupt);
  EXPECT_EQ(code([&](auto& l) { l.metadata.set_int32s(kKeyWeightInputs, negative); }), ErrorCode::corrupt);
  EXPECT_EQ(code([&](auto& l) { l.metadata.set_int32s(kKeyWeightInputs, two); }), ErrorCode::corrupt);
  EXPECT_EQ(code([&](auto& l) { l.metadata.set_int32s(kKeyInputTokens, negative); }), ErrorCode::corrupt);
  const std::vector<std::string> twice = {"x"};
  EXPECT_EQ(code([&](auto& l) { l.metadata.set_strings(kKeyWeights, twice); }), ErrorCode::corrupt);
  for (size_t t = 0; t < 6; ++t) {
    SCOPED_TRACE(t);
    EXPECT_EQ(code([&](auto& l) { l.tensors[t].type = TensorType::f16; }), ErrorCode::corrupt);
    if (t == 0 || t == 2) continue;  // these say themselves how long they are
    EXPECT_EQ(code([&](auto& l) { l.tensors[t].ne[0] += 1; }), ErrorCode::corrupt);
  }
  EXPECT_EQ(code([](auto& l) { l.tensors[2].name.back() = 'y'; }), ErrorCode::corrupt);
  EXPECT_EQ(code([](auto&) {}, std::numeric_limits<float>::quiet_NaN()), ErrorCode::corrupt);
  EXPECT_EQ(code([](auto&) {}, -1.0f), ErrorCode::corrupt);
}

// Tensors that are read on demand are checked then.
TEST(Calibration, FindsNumbersThatAreNoneInSecondMomentsAndRows) {
  for (const std::string_view suffix : {kSecondMoment, kHeldoutRows}) {
    const CalibrationLayout layout =
        plan_calibration(small_info(), "", 0, {{"x", {"x.weight"}, 4, 1, 9, true, true, 2}});
    const std::vector<std::byte> header = gguf_header(layout.metadata, layout.tensors);
    AlignedBuffer<std::byte> image(gguf_file_bytes(layout.metadata, layout.tensors));
    std::memcpy(image.data(), header.data(), header.size());
    const GgufFile look = GgufFile::parse({image.data(), image.size()}, "hostile");
    const std::byte* data = look.tensor("x" + std::string(suffix)).view.data.data();
    const float infinite = std::numeric_limits<float>::infinity();
    std::memcpy(image.data() + (data - image.data()), &infinite, sizeof infinite);
    const Calibration c = Calibration::from_gguf(GgufFile::parse({image.data(), image.size()}, "hostile"));
    if (suffix == kSecondMoment) {
      EXPECT_EQ(code_of([&] { (void)c.second_moment("x"); }), ErrorCode::corrupt);
    } else {
      EXPECT_EQ(code_of([&] { (void)c.heldout("x"); }), ErrorCode::corrupt);
    }
  }
}

TEST(Calibration, KnowsItsModel) {
  ThreadPool pool(1);
  const ModelConfig config = tiny_config();
  const auto make = [&](uint64_t seed, const ModelConfig& shape) {
    return make_synthetic_model(shape, synthetic_tensors(shape, TensorType::f16, false), {seed, false, {}}, pool);
  };
  const SyntheticModel model = make(1, config);
  const SyntheticModel tuned = make(2, config);
  ModelConfig wide = config;
  wide.n_ff *= 2;
  const SyntheticModel other = make(1, wide);
  CalibrationEntry entry;
  entry.name = "blk.1.ffn_down";
  entry.weights = {"blk.1.ffn_down.weight"};
  const auto n = static_cast<size_t>(config.n_ff);
  entry.statistics = {config.n_ff, 5, std::vector<float>(n, 1.0f), {}, {}};
  CalibrationInfo info = small_info();
  info.model_key = calibration_model_key(model.gguf);
  const Calibration c = Calibration::from_entries(info, std::span(&entry, 1));
  EXPECT_NO_THROW(c.require_model(model.gguf));
  std::string message;
  EXPECT_EQ(code_of([&] { c.require_model(tuned.gguf); }, &message), ErrorCode::invalid_argument);
  EXPECT_NE(message.find("'small'"), std::string::npos);
  EXPECT_EQ(code_of([&] { c.require_model(other.gguf); }, &message), ErrorCode::invalid_argument);
  EXPECT_NE(message.find("blk.1.ffn_down.weight"), std::string::npos);
  // An imatrix does not say where it comes from; columns must fit.
  info.model_key.clear();
  const Calibration anonymous = Calibration::from_entries(info, std::span(&entry, 1));
  EXPECT_NO_THROW(anonymous.require_model(tuned.gguf));
  EXPECT_EQ(code_of([&] { anonymous.require_model(other.gguf); }), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace thimble
