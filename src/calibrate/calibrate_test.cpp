// Calibration runs of tiny models against sums over the double-precision reference, and against themselves: threads,
// interruptions, torn work files.
#include "calibrate/calibrate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "calibrate/imatrix.h"
#include "model/reference_forward_test.h"
#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

using Sequences = std::vector<std::vector<int32_t>>;

// 9 sequences: number 7 is held out.
Sequences nine_sequences() {
  Sequences sequences;
  for (int32_t s = 0; s < 9; ++s) {
    std::vector<int32_t> ids;
    for (int32_t t = 0; t < 5 + 3 * s; ++t) ids.push_back((17 * s + 31 * t + t * t) % 260);
    sequences.push_back(ids);
  }
  return sequences;
}

class Calibrate : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("thimble_calibrate_{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    output_ = (folder_ / "calib.thimble").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  SyntheticModel make_model(const ModelConfig& config, bool tied = false, uint64_t seed = 1) {
    return make_synthetic_model(config, synthetic_tensors(config, TensorType::f16, tied), {seed, false, {}}, pool_);
  }
  CalibrationResult run(const GgufFile& gguf, const Task& task = {}, int n_threads = 2) {
    ThreadPool pool(n_threads);
    return calibrate(gguf, sequences_, settings_, output_, pool, task);
  }
  std::string bytes() const { return read_file(output_, uint64_t{1} << 30); }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) names.push_back(entry.path().filename());
    return names;
  }

  ThreadPool pool_{1};
  fs::path folder_;
  std::string output_;
  Sequences sequences_ = nine_sequences();
  CalibrationSettings settings_;
};

struct Sums {
  int64_t n = 0;
  std::vector<double> abs, square, max, moments;
  void add(const std::vector<double>& x) {
    abs.resize(x.size());
    square.resize(x.size());
    max.resize(x.size());
    moments.resize(x.size() * x.size());
    ++n;
    for (size_t i = 0; i < x.size(); ++i) {
      abs[i] += std::abs(x[i]);
      square[i] += x[i] * x[i];
      max[i] = std::max(max[i], std::abs(x[i]));
      for (size_t j = 0; j < x.size(); ++j) moments[i * x.size() + j] += x[i] * x[j];
    }
  }
};

// Keys and values are rounded to halves (2^-11) in the run and not in the reference; activations are near 1, and an
// error grows with each layer. Products have twice the relative error of their factors.
constexpr double kTolerance = 4.0 * 2.0 * 2.0 * 0x1p-11;

TEST_F(Calibrate, EqualsSumsOverTheReference) {
  for (const bool tied : {false, true}) {
    const ModelConfig config = tiny_config(tied ? "qwen2" : "llama");
    const SyntheticModel model = make_model(config, tied);
    settings_.data = "nine sequences";
    settings_.n_heldout_rows = 10;
    const CalibrationResult result = run(model.gguf);
    EXPECT_EQ(result.n_inputs, 9);
    EXPECT_EQ(result.info.n_sequences, 8);
    EXPECT_EQ(result.info.n_heldout_sequences, 1);

    std::map<std::string, Sums> sums;
    std::map<std::string, std::vector<std::vector<double>>> heldout;
    bool held = false;
    ReferenceForward reference(model.gguf);
    reference.on_multiply = [&](const std::string& name, const std::vector<double>& x) {
      if (held) {
        heldout[name].push_back(x);
      } else {
        sums[name].add(x);
      }
    };
    for (size_t s = 0; s < sequences_.size(); ++s) {
      held = s == 7;
      (void)reference.run(sequences_[s]);
    }

    const Calibration c = Calibration::open(output_);
    EXPECT_NO_THROW(c.require_model(model.gguf));
    EXPECT_EQ(c.info().data, "nine sequences");
    EXPECT_EQ(c.info().n_context, 29);
    EXPECT_EQ(c.importance().size(), sums.size());
    for (const auto& [name, want] : sums) {
      SCOPED_TRACE(name);
      const InputStatistics* got = c.find(name);
      ASSERT_NE(got, nullptr);
      ASSERT_EQ(got->n_in, static_cast<int64_t>(want.abs.size()));
      ASSERT_EQ(got->n_tokens, want.n);
      EXPECT_EQ(got->n_tokens, c.info().n_tokens);
      const SecondMoment h = c.second_moment(name);
      const auto n = static_cast<double>(want.n);
      for (size_t i = 0; i < want.abs.size(); ++i) {
        EXPECT_NEAR(got->mean_abs[i], want.abs[i] / n, kTolerance);
        EXPECT_NEAR(got->mean_square[i], want.square[i] / n, kTolerance * std::max(1.0, want.square[i] / n));
        EXPECT_NEAR(got->max_abs[i], want.max[i], kTolerance * std::max(1.0, want.max[i]));
        EXPECT_NEAR(h.row(static_cast<int64_t>(i))[i], got->mean_square[i], 1e-5 * got->mean_square[i]);
        for (size_t j = 0; j < want.abs.size(); ++j) {
          const double scale = std::sqrt(want.square[i] * want.square[j]) / n;
          ASSERT_NEAR(h.row(static_cast<int64_t>(i))[j], want.moments[i * want.abs.size() + j] / n,
                      kTolerance * std::max(1.0, scale));
        }
      }
      // 26 held-out tokens, of which row r of 10 is number r * 26 / 10.
      const HeldOut rows = c.heldout(name);
      ASSERT_EQ(rows.n_rows, 10);
      for (int64_t r = 0; r < rows.n_rows; ++r) {
        const std::vector<double>& row = heldout.at(name).at(static_cast<size_t>(r * 26 / 10));
        for (size_t i = 0; i < row.size(); ++i) {
          ASSERT_NEAR(rows.row(r)[i], row[i], kTolerance * std::max(1.0, std::abs(row[i])));
        }
      }
    }
    double looked_up = 0;
    for (const float count : c.token_counts()) looked_up += static_cast<double>(count);
    EXPECT_EQ(looked_up, static_cast<double>(c.info().n_tokens));
    EXPECT_EQ(c.token_counts().size(), 264u);
    EXPECT_EQ(result.untouched_rows, std::count(c.token_counts().begin(), c.token_counts().end(), 0.0f));
    EXPECT_EQ(files(), std::vector<std::string>{"calib.thimble"});
  }
}

TEST_F(Calibrate, ThreadsAndInterruptionsChangeNoByte) {
  ModelConfig config = tiny_config();
  config.n_ctx_train = 1024;
  // Two batches of sequences to learn from and one held out: interruptions fall between batches too.
  sequences_ = {std::vector<int32_t>(700, 5), std::vector<int32_t>(600, 9), std::vector<int32_t>(50, 11)};
  for (size_t s = 0; s < 3; ++s) {
    for (size_t t = 0; t < sequences_[s].size(); ++t) sequences_[s][t] = static_cast<int32_t>((t * (s + 3)) % 261);
  }
  const SyntheticModel model = make_model(config);
  run(model.gguf, {}, 1);
  const std::string want = bytes();
  fs::remove(output_);
  run(model.gguf, {}, 3);
  EXPECT_EQ(bytes(), want);
  fs::remove(output_);

  // Stopped again and again, each time going on, with rubbish behind what was done. A stage reports three batches, so a
  // run that may report four times gets through one and stops in the next.
  int n_stopped = 0;
  int64_t resumed = 0;
  for (bool done = false; !done;) {
    CancelToken cancel;
    Task task;
    task.cancel = &cancel;
    int left = 4 + n_stopped % 2;
    task.progress = [&](uint64_t, uint64_t, std::string_view) {
      if (--left == 0) cancel.cancel();
    };
    try {
      resumed = run(model.gguf, task).resumed_layers;
      done = true;
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::cancelled) << e.what();
      ASSERT_LT(++n_stopped, 10);
      EXPECT_FALSE(fs::exists(output_));
      std::ofstream(output_ + ".work/data", std::ios::app | std::ios::binary) << "torn";
    }
  }
  EXPECT_EQ(n_stopped, 2);
  EXPECT_EQ(resumed, config.n_layer);
  EXPECT_EQ(bytes(), want);
  EXPECT_EQ(files(), std::vector<std::string>{"calib.thimble"});

  // Run again when all is done: nothing is computed.
  Task task;
  task.progress = [](uint64_t, uint64_t, std::string_view) { ADD_FAILURE() << "worked"; };
  EXPECT_EQ(run(model.gguf, task).resumed_layers, config.n_layer);
  // Other arguments: another result.
  settings_.n_heldout_rows = 3;
  run(model.gguf);
  EXPECT_NE(bytes(), want);
}

TEST_F(Calibrate, StartsAfreshWhereWorkFilesAreTorn) {
  const SyntheticModel model = make_model(tiny_config());
  run(model.gguf);
  const std::string want = bytes();
  CancelToken cancel;
  Task task;
  std::vector<std::string> said;
  task.cancel = &cancel;
  task.log = [&](LogLevel, std::string_view message) { said.emplace_back(message); };
  const auto interrupt = [&] {
    fs::remove(output_);
    cancel.reset();
    task.progress = [&](uint64_t, uint64_t, std::string_view label) {
      if (label.find("layer 2") != std::string_view::npos) cancel.cancel();
    };
    EXPECT_THROW(run(model.gguf, task), Error);
    cancel.reset();
    task.progress = nullptr;
    said.clear();
  };
  const std::string work = output_ + ".work/";
  interrupt();
  write_file_atomically(work + "state.json", "{ rubbish");
  EXPECT_EQ(run(model.gguf, task).resumed_layers, 0);
  EXPECT_EQ(bytes(), want);
  EXPECT_NE(fmt::format("{}", fmt::join(said, "\n")).find("starting afresh"), std::string::npos);
  interrupt();
  fs::resize_file(work + "data", 10);
  EXPECT_EQ(run(model.gguf, task).resumed_layers, 0);
  EXPECT_EQ(bytes(), want);
  interrupt();
  fs::resize_file(work + "stream.1", 10);
  EXPECT_THROW(run(model.gguf, task), Error);  // stages are done that the stream does not have: said, not computed
  fs::remove_all(work);
  interrupt();
  settings_.n_heldout_rows = 3;
  EXPECT_EQ(run(model.gguf, task).resumed_layers, 0);
  EXPECT_NE(fmt::format("{}", fmt::join(said, "\n")).find("other arguments"), std::string::npos);
}

TEST_F(Calibrate, OneRunAtATimeWritesAnOutput) {
  const SyntheticModel model = make_model(tiny_config());
  Task task;
  bool refused = false;
  task.progress = [&](uint64_t, uint64_t, std::string_view) {
    if (refused) return;
    ThreadPool other(1);
    try {
      calibrate(model.gguf, sequences_, settings_, output_, other);
    } catch (const Error& e) {
      refused = e.code() == ErrorCode::io;
    }
  };
  run(model.gguf, task);
  EXPECT_TRUE(refused);
  EXPECT_TRUE(fs::exists(output_));
}

TEST_F(Calibrate, WithoutSecondMomentsOrHeldOutRows) {
  const SyntheticModel model = make_model(tiny_config());
  run(model.gguf);
  const Calibration full = Calibration::open(output_);
  settings_.second_moments = false;
  run(model.gguf);
  const Calibration bare = Calibration::open(output_);
  for (const std::string& name : full.inputs()) {
    EXPECT_TRUE(full.has_second_moment(name));
    EXPECT_FALSE(bare.has_second_moment(name));
    EXPECT_EQ(bare.find(name)->mean_square, full.find(name)->mean_square);
    EXPECT_EQ(bare.heldout(name).n_rows, 26);
  }
  settings_.n_heldout_rows = 0;
  EXPECT_EQ(run(model.gguf).info.n_heldout_sequences, 0);
  EXPECT_EQ(Calibration::open(output_).heldout("output").n_rows, 0);
}

TEST_F(Calibrate, SaysWhenThereAreTooFewTokens) {
  const SyntheticModel model = make_model(tiny_config());
  sequences_ = {{1, 2, 3}};
  std::vector<std::string> said;
  Task task;
  task.log = [&](LogLevel level, std::string_view message) {
    if (level == LogLevel::warning) said.emplace_back(message);
  };
  const CalibrationResult result = run(model.gguf, task);
  EXPECT_EQ(result.singular.size(), 9u);
  EXPECT_EQ(result.info.n_heldout_sequences, 0);
  ASSERT_EQ(said.size(), 2u);
  EXPECT_NE(said[0].find("3 tokens are fewer than the columns of 9 of 9 inputs"), std::string::npos) << said[0];
  EXPECT_NE(said[1].find("0 held-out rows of the 512"), std::string::npos) << said[1];
}

TEST_F(Calibrate, RefusesBadInput) {
  const SyntheticModel model = make_model(tiny_config());
  const auto code = [&](const Sequences& sequences) {
    sequences_ = sequences;
    try {
      run(model.gguf);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  };
  EXPECT_EQ(code({}), ErrorCode::invalid_argument);
  EXPECT_EQ(code({{}}), ErrorCode::invalid_argument);
  EXPECT_EQ(code({{264}}), ErrorCode::invalid_argument);
  EXPECT_EQ(code({{-1}}), ErrorCode::invalid_argument);
  EXPECT_EQ(code({std::vector<int32_t>(129, 1)}), ErrorCode::invalid_argument);
  EXPECT_TRUE(files().empty());
  output_ = (folder_ / "no_such_folder" / "x").string();
  EXPECT_EQ(code({{1, 2}}), ErrorCode::not_found);
  output_ = folder_.string();
  EXPECT_EQ(code({{1, 2}}), ErrorCode::io);
}

TEST_F(Calibrate, NamesTheInputOfActivationsThatAreNotFinite) {
  SyntheticModel model = make_model(tiny_config());
  const std::span<const std::byte> data = model.gguf.tensor("blk.1.ffn_up.weight").view.data;
  model.image.data()[data.data() - model.image.data() + 1] = std::byte{0x7E};  // the first weight becomes a NaN
  try {
    run(model.gguf);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::corrupt);
    EXPECT_NE(std::string(e.what()).find("'blk.1.ffn_down'"), std::string::npos) << e.what();
  }
  EXPECT_FALSE(fs::exists(output_));
}

TEST_F(Calibrate, ImatrixGoesThereAndBack) {
  const SyntheticModel model = make_model(tiny_config("qwen2"), true);
  settings_.data = "some text";
  run(model.gguf);
  const Calibration calibration = Calibration::open(output_);
  const std::string path = (folder_ / "imatrix.gguf").string();
  write_imatrix(calibration, path);
  const GgufFile gguf = GgufFile::open(path);
  EXPECT_EQ(gguf.get_string("general.type"), "imatrix");
  EXPECT_EQ(gguf.get_strings("imatrix.datasets")->front(), "some text");
  const Calibration back = read_imatrix(path);
  EXPECT_EQ(back.info().data, "some text");
  EXPECT_EQ(back.info().n_tokens, calibration.info().n_tokens);
  const Importance want = calibration.importance(), got = back.importance();
  ASSERT_EQ(got.size(), want.size());
  EXPECT_EQ(want.count("token_embd.weight"), 1u);  // tied: the head is found by this name
  for (const auto& [name, values] : want) {
    ASSERT_EQ(got.count(name), 1u) << name;
    for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(got.at(name)[i], values[i], 1e-6f * values[i]);
    EXPECT_EQ(back.find(name)->n_tokens, calibration.find(name)->n_tokens);
  }
  EXPECT_NO_THROW(back.require_model(model.gguf));
  // Each is refused where the other is expected, and named.
  EXPECT_THROW(Calibration::open(path), Error);
  EXPECT_THROW(read_imatrix(output_), Error);
}

}  // namespace
}  // namespace thimble
