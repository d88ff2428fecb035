// The whole order of steps on a tiny random model: resumption, inputs that are refused, results that are not torn.
#include "squeeze/squeeze.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "model/synthetic_model.h"
#include "squeeze/work_files.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

const char* const kChatml =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

void write_tiny_model(const std::string& path) {
  ModelConfig c;
  c.architecture = "llama";
  c.n_layer = 1;
  c.n_embd = 256;
  c.n_head = 4;
  c.n_head_kv = 2;
  c.head_dim = 64;
  c.n_ff = 256;
  c.n_vocab = 300;
  c.n_ctx_train = 256;
  c.n_rot = 64;
  SyntheticOptions options;
  options.vocabulary = true;
  ThreadPool pool(1);
  const std::vector<GgufTensorPlan> tensors = synthetic_tensors(c, TensorType::f16, false);
  const SyntheticModel model = make_synthetic_model(c, tensors, options, pool);
  GgufMetadata metadata = synthetic_metadata(c, options);
  metadata.set_string("tokenizer.chat_template", kChatml);
  GgufWriter writer(path, metadata, tensors);
  for (const GgufTensorPlan& t : tensors) {
    writer.write(model.gguf.tensor(t.name).view.data);
  }
  writer.commit();
}

class SqueezeRun : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("thimble-squeeze-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_ / "tasks");
    options_.model = (folder_ / "float.gguf").string();
    write_tiny_model(options_.model);
    write("tasks/t.task.json",
          R"({"task": "t", "data": "t.jsonl", "gen": {"max_tokens": 4}, "metrics": {"primary": "chrf2"}})");
    std::string items;
    for (int i = 0; i < 5; ++i) {
      items += R"({"id": ")" + std::to_string(i) + R"(", "messages": [{"role": "user", "content": "Say )" +
               std::to_string(i) + R"("}], "refs": ["a b c"]})" + "\n";
    }
    write("tasks/t.jsonl", items);
    write("text.txt", std::string(700, 'x'));
    write("candidates.toml", "schemes = [\"q8_0\", \"q4_0\"]\n");
    options_.device = THIMBLE_SOURCE_DIR "/devices/phone-4gb.toml";
    options_.tasks = (folder_ / "tasks").string();
    options_.output = (folder_ / "out").string();
    options_.candidates = (folder_ / "candidates.toml").string();
    options_.text = (folder_ / "text.txt").string();
    options_.n_threads = 2;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_ / name) << text; }
  std::string read(const std::string& name) const { return read_file((folder_ / name).string(), 1 << 24); }
  void write_calibration_items() const {
    std::string items;
    for (int i = 0; i < 12; ++i) {
      items += fmt::format(
          R"({{"id": "c{0}", "messages": [{{"role": "user", "content": "Tell {0}"}}], "refs": ["d {0}"]}})", i);
      items += "\n";
    }
    write("tasks/t.calib.jsonl", items);
  }
  size_t journal_lines() const {
    const std::string text = read("out/work/journal.jsonl");
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }
  ErrorCode error_of() const {
    try {
      (void)squeeze(options_);
    } catch (const Error& e) {
      return e.code();
    }
    ADD_FAILURE() << "no error";
    return ErrorCode::internal;
  }

  fs::path folder_;
  SqueezeOptions options_;
};

TEST_F(SqueezeRun, LeavesModelAndReportsAndDoesNothingTwice) {
  const SqueezeResult first = squeeze(options_);
  ASSERT_EQ(first.candidates.size(), 2u);
  EXPECT_EQ(first.baseline.against_float.mean, 0.0);
  for (const Candidate& c : first.candidates) {
    EXPECT_TRUE(c.excluded.empty()) << c.excluded;
    ASSERT_TRUE(c.fidelity.has_value());
    EXPECT_GT(c.fidelity->divergence->mean_kl, 0.0);
    EXPECT_EQ(c.tasks.at(0).items.size(), 5u);
    ASSERT_EQ(c.on_answers.size(), 1u);
    EXPECT_EQ(c.on_answers[0].items.size(), 5u);
    EXPECT_GT(c.on_answers[0].divergence.mean_kl, 0.0);
    EXPECT_EQ(c.file_bytes, fs::file_size(c.path));
  }
  EXPECT_LT(first.candidates[0].on_answers[0].divergence.mean_kl, first.candidates[1].on_answers[0].divergence.mean_kl);
  EXPECT_TRUE(first.baseline.on_answers.empty()) << "it wrote them";
  EXPECT_GT(first.candidates[0].file_bytes, first.candidates[1].file_bytes);
  EXPECT_FALSE(read("out/report.html").empty());
  const std::string json = read("out/report.json");
  if (first.picked >= 0) {
    const Candidate& picked = first.candidates[static_cast<size_t>(first.picked)];
    EXPECT_EQ(file_hash((folder_ / "out/model.gguf").string()), picked.hash);
  }

  const size_t lines = journal_lines();
  const auto written = fs::last_write_time(folder_ / "out/work/q4_0.gguf");
  (void)squeeze(options_);
  EXPECT_EQ(journal_lines(), lines);
  EXPECT_EQ(fs::last_write_time(folder_ / "out/work/q4_0.gguf"), written);
  EXPECT_EQ(read("out/report.json"), json);
}

// Of each model five items are reported, and once one is under way all may end before the stop is noticed: three stops
// leave a fourth model in any case, and each finds five items.
TEST_F(SqueezeRun, AStoppedRunGivesTheSameReportWhenItGoesOn) {
  write("candidates.toml", "schemes = [\"q8_0\", \"q4_1\", \"q4_0\"]\n");
  const SqueezeOptions undisturbed = [&] {
    SqueezeOptions o = options_;
    o.output = (folder_ / "fresh").string();
    return o;
  }();
  (void)squeeze(undisturbed);
  for (int stop_after : {1, 4, 5}) {
    CancelToken cancel;
    int reports = 0;
    Task task;
    task.cancel = &cancel;
    task.progress = [&](uint64_t, uint64_t, std::string_view what) {
      if (what.find(": t") != std::string_view::npos && ++reports == stop_after) cancel.cancel();
    };
    EXPECT_THROW(squeeze(options_, task), Error);
    EXPECT_FALSE(fs::exists(folder_ / "out/report.json"));
  }
  std::ofstream(folder_ / "out/work/journal.jsonl", std::ios::app) << "{\"key\": \"torn";
  (void)squeeze(options_);
  Json resumed = Json::parse(read("out/report.json"));
  Json fresh = Json::parse(read("fresh/report.json"));
  for (Json* j : {&resumed, &fresh}) j->erase("reproduce");
  EXPECT_EQ(resumed, fresh);
}

TEST_F(SqueezeRun, CalibratesOnTheTasksOwnItemsOnce) {
  const std::string plain = squeeze(options_).candidates[1].hash;
  write_calibration_items();
  const SqueezeResult first = squeeze(options_);
  EXPECT_NE(first.calibrated_on.find("t.calib.jsonl"), std::string::npos) << first.calibrated_on;
  EXPECT_NE(first.candidates[1].hash, plain);
  EXPECT_EQ(first.candidates[1].recipe.rounding.method, RoundingMethod::best);
  const std::string calibration = (folder_ / "out/work/calib.thimble").string();
  const auto written = fs::last_write_time(calibration);
  EXPECT_EQ(squeeze(options_).candidates[1].hash, first.candidates[1].hash);
  EXPECT_EQ(fs::last_write_time(calibration), written);

  // The same statistics from a file; other ones, or none, are other candidates.
  fs::copy_file(calibration, folder_ / "given.thimble");
  options_.calibration = (folder_ / "given.thimble").string();
  EXPECT_EQ(squeeze(options_).candidates[1].hash, first.candidates[1].hash);
  options_.calibration_data = {options_.text};
  EXPECT_EQ(error_of(), ErrorCode::invalid_argument);
  options_.calibration.clear();
  const SqueezeResult other = squeeze(options_);
  EXPECT_EQ(other.calibrated_on.find("t.calib.jsonl"), std::string::npos) << other.calibrated_on;
  EXPECT_NE(other.candidates[1].hash, first.candidates[1].hash);
  options_.calibrate = false;
  EXPECT_EQ(error_of(), ErrorCode::invalid_argument);
  options_.calibration_data.clear();
  EXPECT_EQ(squeeze(options_).candidates[1].hash, plain);
}

TEST_F(SqueezeRun, TheJournalAloneIsEnoughToGoOnFrom) {
  write_calibration_items();
  const SqueezeResult first = squeeze(options_);
  const auto files_of_work = [&] {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(fs::path(options_.output) / "work")) {
      if (entry.is_regular_file()) names.insert(entry.path().filename().string());
    }
    return names;
  };
  const auto report = [&] {
    Json json = Json::parse(read_file((fs::path(options_.output) / "report.json").string(), 1 << 24));
    json.erase("reproduce");
    return json;
  };
  const Json of_first = report();

  options_.output = (folder_ / "elsewhere").string();
  fs::create_directories(folder_ / "elsewhere/work");
  fs::copy_file(folder_ / "out/work/journal.jsonl", folder_ / "elsewhere/work/journal.jsonl");
  options_.report_only = true;
  (void)squeeze(options_);
  EXPECT_EQ(report(), of_first);
  EXPECT_EQ(files_of_work(), std::set<std::string>{"journal.jsonl"});
  EXPECT_FALSE(fs::exists(folder_ / "elsewhere/model.gguf"));

  // One more candidate: only its file and what it is made by.
  write("candidates.toml", "schemes = [\"q8_0\", \"q4_0\", \"q4_1\"]\n");
  (void)squeeze(options_);
  EXPECT_EQ(files_of_work(), (std::set<std::string>{"calib.thimble", "journal.jsonl", "q4_1.gguf"}));

  // A model is asked for: the picked one is made, and it is the one that was measured.
  write("candidates.toml", "schemes = [\"q8_0\", \"q4_0\"]\n");
  options_.report_only = false;
  ASSERT_GE(first.picked, 0);
  (void)squeeze(options_);
  EXPECT_EQ(file_hash((folder_ / "elsewhere/model.gguf").string()),
            first.candidates[static_cast<size_t>(first.picked)].hash);
  EXPECT_EQ(report(), of_first);
}

TEST_F(SqueezeRun, ACandidateWithoutItsFileIsMadeAgainWhenSomethingIsLeftToMeasure) {
  const SqueezeResult first = squeeze(options_);
  fs::remove(folder_ / "out/work/q4_0.gguf");
  write("text.txt", std::string(700, 'y'));
  const SqueezeResult again = squeeze(options_);
  EXPECT_TRUE(fs::exists(folder_ / "out/work/q4_0.gguf"));
  EXPECT_EQ(again.candidates[1].hash, first.candidates[1].hash);
  EXPECT_TRUE(again.candidates[1].fidelity.has_value());
}

TEST_F(SqueezeRun, ADamagedCandidateIsQuantizedAgain) {
  (void)squeeze(options_);
  const std::string path = (folder_ / "out/work/q4_0.gguf").string();
  const std::string good = file_hash(path);
  fs::resize_file(path, fs::file_size(path) - 32);
  (void)squeeze(options_);
  EXPECT_EQ(file_hash(path), good);
}

TEST_F(SqueezeRun, NothingFitsADeviceThatAsksForTooMuch) {
  std::string profile = read_file(options_.device, 1 << 20);
  const std::string floor = "min_decode_tokens_per_s";
  const size_t at = profile.find(floor);
  ASSERT_NE(at, std::string::npos);
  profile.replace(at, profile.find('\n', at) - at, floor + " = 999999");
  write("fast.toml", profile);
  options_.device = (folder_ / "fast.toml").string();
  fs::create_directories(folder_ / "out");
  write("out/model.gguf", "of an earlier run");
  const SqueezeResult r = squeeze(options_);
  EXPECT_EQ(r.verdict, Verdict::nothing_fits);
  for (const Candidate& c : r.candidates) EXPECT_NE(c.excluded.find("too slow"), std::string::npos) << c.excluded;
  EXPECT_FALSE(fs::exists(folder_ / "out/model.gguf")) << "it must not look like this run's";
  EXPECT_TRUE(fs::exists(folder_ / "out/report.html"));
}

TEST_F(SqueezeRun, BadInputsAreRefusedBeforeAnyWork) {
  const SqueezeOptions good = options_;
  options_.margin = -1;
  EXPECT_EQ(error_of(), ErrorCode::invalid_argument);
  options_ = good;
  options_.confidence = 1.0;
  EXPECT_EQ(error_of(), ErrorCode::invalid_argument);
  options_ = good;
  options_.tasks = (folder_ / "none").string();
  EXPECT_EQ(error_of(), ErrorCode::not_found);
  options_ = good;
  options_.text = (folder_ / "none.txt").string();
  EXPECT_EQ(error_of(), ErrorCode::not_found);
  options_ = good;
  options_.model = (folder_ / "none.gguf").string();
  EXPECT_EQ(error_of(), ErrorCode::not_found);
  options_ = good;
  options_.candidates = (folder_ / "none.toml").string();
  EXPECT_EQ(error_of(), ErrorCode::not_found);
  options_ = good;
  options_.device = (folder_ / "none.toml").string();
  EXPECT_EQ(error_of(), ErrorCode::not_found);
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(SqueezeRun, ATooShortTextIsRefusedBeforeQuantizing) {
  write("text.txt", "too short");
  EXPECT_EQ(error_of(), ErrorCode::invalid_argument);
  for (const auto& entry : fs::directory_iterator(folder_ / "out/work")) EXPECT_NE(entry.path().extension(), ".gguf");
}

TEST_F(SqueezeRun, TheFloatModelIsNeverOverwritten) {
  const std::string before = file_hash(options_.model);
  fs::create_directories(folder_ / "out");
  fs::rename(options_.model, folder_ / "out/model.gguf");
  options_.model = (folder_ / "out/model.gguf").string();
  EXPECT_EQ(error_of(), ErrorCode::invalid_argument);
  EXPECT_EQ(file_hash(options_.model), before);
}

TEST_F(SqueezeRun, AQuantizedModelIsRefused) {
  (void)squeeze(options_);
  options_.model = (folder_ / "out/work/q4_0.gguf").string();
  options_.output = (folder_ / "again").string();
  EXPECT_EQ(error_of(), ErrorCode::invalid_argument);
}

TEST_F(SqueezeRun, PlannedFootprintIsThatOfTheWrittenFile) {
  const GgufFile source = GgufFile::open(options_.model);
  const ModelConfig config = read_model_config(source);
  const Recipe recipe = with_hot_weights(recipe_from_scheme("q4_k_m"));
  const ModelFootprint planned = planned_footprint(plan_quantize(source, recipe), config);
  ThreadPool pool(1);
  const std::string path = (folder_ / "q.gguf").string();
  (void)quantize(source, path, recipe, {}, pool);
  const ModelFootprint written = footprint(GgufFile::open(path));
  EXPECT_EQ(planned.weight_bytes, written.weight_bytes);
  EXPECT_EQ(planned.bytes_read_per_token, written.bytes_read_per_token);
  EXPECT_EQ(planned.weights_multiplied, written.weights_multiplied);
}

TEST(WorkFiles, PublishReplacesTheTargetAndSurvivesRepetition) {
  const fs::path folder = fs::temp_directory_path() / ("thimble-publish-" + std::to_string(::getpid()));
  fs::create_directories(folder);
  const std::string from = (folder / "a").string();
  const std::string to = (folder / "b").string();
  std::ofstream(from) << "new";
  std::ofstream(to) << "old";
  publish_file(from, to);
  publish_file(from, to);
  EXPECT_EQ(read_file(to, 100), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 2);
  EXPECT_THROW(publish_file((folder / "none").string(), to), Error);
  EXPECT_EQ(read_file(to, 100), "new");
  fs::remove_all(folder);
}

TEST(WorkFiles, FloatTypeFollowsTheConfiguration) {
  const fs::path folder = fs::temp_directory_path() / ("thimble-dtype-" + std::to_string(::getpid()));
  fs::create_directories(folder);
  const auto type_of = [&](const char* config) {
    std::ofstream(folder / "config.json") << config;
    return float_type_of(folder.string());
  };
  EXPECT_EQ(type_of(R"({"torch_dtype": "bfloat16"})"), TensorType::bf16);
  EXPECT_EQ(type_of(R"({"dtype": "float32", "torch_dtype": "float16"})"), TensorType::f32);
  EXPECT_EQ(type_of("{}"), TensorType::f16);
  EXPECT_THROW(type_of(R"({"dtype": 3})"), Error);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace thimble
