// quantize() with second moments and folds: what it keeps, what it says, and that an interrupted run goes on.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "format/gguf_writer.h"
#include "quantize/quantize.h"
#include "quantize/quantize_test_problem.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

/// A llama of one layer, its attention and feed-forward inputs known.
class CalibratedQuantize : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("thimble-calibrated-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    write_model();
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string file(const std::string& name) const { return (folder_ / name).string(); }
  size_t n_files() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {})); }

  void write_model() {
    GgufMetadata m;
    m.set_string("general.architecture", "llama");
    m.set_uint32("llama.block_count", 1);
    m.set_uint32("llama.embedding_length", 256);
    m.set_uint32("llama.feed_forward_length", 256);
    m.set_uint32("llama.context_length", 64);
    m.set_uint32("llama.attention.head_count", 4);
    m.set_float32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    std::vector<GgufTensorPlan> plans;
    const auto add = [&](const std::string& name, int64_t n_out) {
      plans.push_back({name, TensorType::f32, n_out == 1 ? 1u : 2u, {256, n_out, 1, 1}});
    };
    add("token_embd.weight", 32);
    add("blk.0.attn_norm.weight", 1);
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"})
      add(fmt::format("blk.0.{}.weight", name), 256);
    add("blk.0.ffn_norm.weight", 1);
    for (const char* name : {"ffn_gate", "ffn_up", "ffn_down"}) add(fmt::format("blk.0.{}.weight", name), 256);
    add("output_norm.weight", 1);
    add("output.weight", 32);
    GgufWriter writer(file("in.gguf"), m, plans);
    uint32_t seed = 0;
    for (const GgufTensorPlan& plan : plans) {
      std::vector<float> values = random_problem(plan.ne[1], 256, ++seed).weights;
      if (plan.n_dims == 1) values.assign(256, 1.0f);
      writer.write(std::as_bytes(std::span(values)));
    }
    writer.commit();
  }

  static Calibration calibration(float scale = 1.0f) {
    std::vector<CalibrationEntry> entries;
    const auto add = [&](const std::string& name, std::vector<std::string> weights, uint32_t seed) {
      Problem p = random_problem(1, 256, seed);
      for (float& value : p.h) value *= scale;
      for (float& value : p.diagonal) value *= scale;
      CalibrationEntry entry{name, {}, {256, p.n_inputs, p.diagonal, p.diagonal, p.diagonal}, p.h, {}};
      for (const std::string& weight : weights) entry.weights.push_back("blk.0." + weight + ".weight");
      entry.heldout.assign(p.inputs.begin(), p.inputs.begin() + 64 * 256);
      entries.push_back(std::move(entry));
    };
    add("blk.0.attn_qkv", {"attn_q", "attn_k", "attn_v"}, 100);
    add("blk.0.attn_output", {"attn_output"}, 101);
    add("blk.0.ffn_gate_up", {"ffn_gate", "ffn_up"}, 102);
    add("blk.0.ffn_down", {"ffn_down"}, 103);
    CalibrationInfo info;
    info.data = "numbers of a generator";
    return Calibration::from_entries(info, entries);
  }

  static Recipe recipe(RoundingMethod method) {
    Recipe out = recipe_from_scheme("q4_k_s");
    out.rounding.method = method;
    return out;
  }

  fs::path folder_;
  ThreadPool pool_{2};
};

TEST_F(CalibratedQuantize, LowersTheErrorOfEveryKnownMatrixAndSaysSo) {
  const GgufFile input = GgufFile::open(file("in.gguf"));
  const Calibration known = calibration();
  QuantizeInputs inputs;
  inputs.calibration = &known;
  size_t lines = 0;
  Task task;
  task.log = [&](LogLevel level, std::string_view text) {
    if (level == LogLevel::info && text.find("error") != std::string_view::npos) ++lines;
  };
  const QuantizeResult result = quantize(input, file("out.gguf"), recipe(RoundingMethod::best), inputs, pool_, task);
  EXPECT_EQ(lines, 7u);
  EXPECT_EQ(n_files(), 2u) << "nothing but input and output is left";
  EXPECT_EQ(file_stamp(file("out.gguf")).bytes, result.file_bytes);
  const GgufFile output = GgufFile::open(file("out.gguf"));
  for (const QuantizedTensor& t : result.tensors) {
    const bool matrix = t.name.starts_with("blk.0.") && t.ne[1] > 1;
    if (matrix) {
      EXPECT_EQ(t.method, RoundingMethod::gptq_cd) << t.name;
      EXPECT_LT(t.loss.heldout, 0.8 * t.search_loss.heldout) << t.name;
    }
    EXPECT_EQ(t.fallback.empty(), t.name != "output.weight") << t.name << ": " << t.fallback;
  }
  EXPECT_EQ(output.find_tensor("blk.0.attn_q.weight")->view.type, TensorType::q4_k);
}

TEST_F(CalibratedQuantize, RulesChooseTheMethodOfATensor) {
  const Recipe rules = parse_recipe(R"(
scheme = "q4_k_s"
method = "gptq"
damp = 0.05
[[rounding]]
match = "*ffn_*"
method = "search"
[[rounding]]
match = "*attn_q*"
method = "gptq_cd"
sweeps = 1
)",
                                    "test.toml");
  const GgufFile input = GgufFile::open(file("in.gguf"));
  const Calibration known = calibration();
  QuantizeInputs inputs;
  inputs.calibration = &known;
  const QuantizeResult result = quantize(input, file("out.gguf"), rules, inputs, pool_);
  for (const QuantizedTensor& t : result.tensors) {
    if (t.name.find("ffn_up") != std::string::npos) {
      EXPECT_EQ(t.method, RoundingMethod::search);
    }
    if (t.name.find("attn_q") != std::string::npos) {
      EXPECT_EQ(t.method, RoundingMethod::gptq_cd);
    }
    if (t.name.find("attn_k") == std::string::npos) continue;
    EXPECT_EQ(t.method, RoundingMethod::gptq);
    EXPECT_EQ(t.damp, 0.05);
  }
  for (const char* bad : {"method = \"magic\"", "damp = 3", "fold = \"paper\"", "sweeps = 0"}) {
    EXPECT_THROW(parse_recipe(fmt::format("scheme = \"q4_0\"\n{}\n", bad), "bad.toml"), Error) << bad;
  }
}

TEST_F(CalibratedQuantize, AnInterruptedRunGoesOnAndEndsInTheSameFile) {
  const GgufFile input = GgufFile::open(file("in.gguf"));
  const Calibration known = calibration();
  QuantizeInputs inputs;
  inputs.calibration = &known;
  quantize(input, file("whole.gguf"), recipe(RoundingMethod::best), inputs, pool_);
  CancelToken cancel;
  Task task;
  task.cancel = &cancel;
  int steps = 0;
  task.progress = [&](uint64_t, uint64_t, std::string_view) {
    if (++steps == 6) cancel.cancel();
  };
  EXPECT_THROW(quantize(input, file("out.gguf"), recipe(RoundingMethod::best), inputs, pool_, task), Error);
  EXPECT_FALSE(fs::exists(file("out.gguf")));
  EXPECT_TRUE(fs::exists(file("out.gguf.unfinished")));
  // Other statistics are another run: nothing of the first may be taken.
  const Calibration other = calibration(2.0f);
  size_t resumed = 0;
  Task listening;
  listening.log = [&](LogLevel, std::string_view text) {
    if (text.find("earlier run") != std::string_view::npos) ++resumed;
  };
  QuantizeInputs again;
  again.calibration = &known;
  const QuantizeResult result =
      quantize(input, file("out.gguf"), recipe(RoundingMethod::best), again, pool_, listening);
  EXPECT_EQ(resumed, 1u);
  EXPECT_EQ(read_file(file("out.gguf"), 1 << 24), read_file(file("whole.gguf"), 1 << 24));
  for (const QuantizedTensor& t : result.tensors) {
    if (t.name == "blk.0.attn_q.weight") {
      EXPECT_GT(t.search_loss.heldout, t.loss.heldout) << "the report comes back too";
    }
  }
  EXPECT_EQ(n_files(), 3u);
  again.calibration = &other;
  steps = 0;
  cancel.reset();
  EXPECT_THROW(quantize(input, file("out.gguf"), recipe(RoundingMethod::best), inputs, pool_, task), Error);
  quantize(input, file("out.gguf"), recipe(RoundingMethod::best), again, pool_, listening);
  EXPECT_EQ(resumed, 1u) << "took pieces that were rounded with other statistics";
}

TEST_F(CalibratedQuantize, FilesMadeTogetherAreThoseMadeAlone) {
  const GgufFile input = GgufFile::open(file("in.gguf"));
  const Calibration known = calibration();
  QuantizeInputs inputs;
  inputs.calibration = &known;
  std::vector<QuantizeJob> jobs;
  const auto add = [&](const std::string& text) {
    jobs.push_back({file(fmt::format("together-{}.gguf", jobs.size())), parse_recipe(text, "a job")});
  };
  add("scheme = 'q4_k_s'\nmethod = 'best'\n");
  add("scheme = 'q4_0'\nmethod = 'gptq'\ndamp = 0.05\n");
  add("scheme = 'i4_g128'\nmethod = 'best'\noutliers = 2\n");  // its second moments are its own
  add("scheme = 'q8_0'\nmethod = 'search'\n");                 // row by row
  add("scheme = 'q4_k_s'\nmethod = 'search'\nfold = 'awq'\n");
  add("scheme = 'iq4_xs'\nmethod = 'gptq_cd'\n");
  for (size_t j = 0; j < jobs.size(); ++j) {
    quantize(input, file(fmt::format("alone-{}.gguf", j)), jobs[j].recipe, inputs, pool_);
  }
  CancelToken cancel;
  Task task;
  task.cancel = &cancel;
  uint64_t shown = 0;
  task.progress = [&](uint64_t done, uint64_t total, std::string_view tensor) {
    EXPECT_LE(done, total);
    shown = std::max(shown, done);
    if (tensor == "blk.0.ffn_down.weight" && done > total * 8 / 10) cancel.cancel();
  };
  std::vector<size_t> finished;
  const JobFinished hear = [&](size_t job) { finished.push_back(job); };
  EXPECT_THROW(quantize_all(input, jobs, inputs, pool_, task, hear), Error);
  const std::vector<size_t> first = {4, 3};  // folds, then rows, then those that share
  EXPECT_EQ(finished, first);
  const std::vector<QuantizedTensor> alone = quantize(input, file("again.gguf"), jobs[0].recipe, inputs, pool_).tensors;
  const std::vector<QuantizeResult> results = quantize_all(input, jobs, inputs, pool_, {}, hear);
  const std::vector<size_t> all = {4, 3, 4, 3, 0, 1, 2, 5};
  EXPECT_EQ(finished, all);
  for (size_t j = 0; j < jobs.size(); ++j) {
    EXPECT_EQ(read_file(jobs[j].output_path, 1 << 24), read_file(file(fmt::format("alone-{}.gguf", j)), 1 << 24)) << j;
  }
  for (size_t t = 0; t < alone.size(); ++t) EXPECT_EQ(results[0].tensors[t].loss.heldout, alone[t].loss.heldout);
}

TEST_F(CalibratedQuantize, AFoldedModelComputesTheSameAndIsRoundedInItsOwnCoordinates) {
  const GgufFile input = GgufFile::open(file("in.gguf"));
  Recipe kept = recipe_from_scheme("f16");
  QuantizeInputs inputs;
  std::vector<float> up(256), down(256);
  for (size_t i = 0; i < 256; ++i) {
    up[i] = i % 2 == 0 ? 0.5f : 4.0f;
    down[i] = 1.0f / up[i];
  }
  inputs.folds["blk.0.ffn_norm.weight"].rows = down;
  inputs.folds["blk.0.ffn_up.weight"].columns = up;
  inputs.folds["blk.0.ffn_gate.weight"].columns = up;
  quantize(input, file("out.gguf"), kept, inputs, pool_);
  const GgufFile output = GgufFile::open(file("out.gguf"));
  std::vector<float> before(256), after(256), norm(256);
  const GgufTensor* source = input.find_tensor("blk.0.ffn_up.weight");
  const GgufTensor* folded = output.find_tensor("blk.0.ffn_up.weight");
  traits(source->view.type).decode(source->view.row(3), before.data(), 256);
  traits(folded->view.type).decode(folded->view.row(3), after.data(), 256);
  traits(TensorType::f32).decode(output.find_tensor("blk.0.ffn_norm.weight")->view.row(0), norm.data(), 256);
  for (size_t i = 0; i < 256; ++i) EXPECT_NEAR(norm[i] * after[i], before[i], 1e-3f * std::fabs(before[i]) + 1e-6f);
  inputs.folds["blk.0.ffn_up.weight"].columns.pop_back();
  EXPECT_THROW(quantize(input, file("out.gguf"), kept, inputs, pool_), Error);
}

TEST_F(CalibratedQuantize, AFoldNeedsACalibrationAndAModelItsOwn) {
  const GgufFile input = GgufFile::open(file("in.gguf"));
  Recipe folded = recipe_from_scheme("q4_k_s");
  folded.fold = FoldMethod::awq;
  EXPECT_THROW(quantize(input, file("out.gguf"), folded, {}, pool_), Error);
  EXPECT_THROW(quantize(input, file("out.gguf"), recipe(RoundingMethod::best), {}, pool_), Error);
  CalibrationInfo info;
  info.model_key = "another model";
  const Calibration foreign = Calibration::from_entries(info, {});
  QuantizeInputs inputs;
  inputs.calibration = &foreign;
  EXPECT_THROW(quantize(input, file("out.gguf"), recipe(RoundingMethod::best), inputs, pool_), Error);
  EXPECT_EQ(n_files(), 1u);
}

}  // namespace
}  // namespace thimble
