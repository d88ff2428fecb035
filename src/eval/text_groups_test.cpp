#include "eval/text_groups.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/journal.h"
#include "eval/test_engine.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

class TextGroupsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("thimble-groups-{}-{}", ::getpid(),
                                                      testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    for (uint64_t seed = 1; seed <= 4; ++seed) models_.push_back({write_model(seed), fmt::format("model-{}", seed)});
    for (int i = 0; i < 220; ++i) text_ += static_cast<char>('a' + i % 26);
    settings_.n_ctx = 96;
    settings_.reference_key = "reference";
    engine_.n_threads = 1;
    engine_.packing.policy = PackPolicy::none;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write_model(uint64_t seed) const {
    ThreadPool pool(1);
    SyntheticOptions synthetic;
    synthetic.seed = seed;
    synthetic.vocabulary = true;
    const ModelConfig config = testing_engine::small_config();
    const SyntheticModel m =
        make_synthetic_model(config, synthetic_tensors(config, TensorType::f16, false), synthetic, pool);
    const std::string path = (folder_ / fmt::format("m{}.gguf", seed)).string();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(m.image.data()), static_cast<std::streamsize>(m.image.size()));
    return path;
  }
  std::vector<double> divergences(const std::shared_ptr<const Engine>& reference, uint64_t group_bytes,
                                  const Task& progress = {}) {
    std::vector<double> out;
    for (const FidelityResult& r :
         measure_in_groups(models_, engine_, reference, text_, settings_, progress, group_bytes)) {
      out.push_back(r.divergence ? r.divergence->mean_kl : r.perplexity.perplexity);
    }
    return out;
  }

  fs::path folder_;
  std::vector<TextModel> models_;
  std::string text_;
  FidelitySettings settings_;
  EngineOptions engine_;
};

TEST_F(TextGroupsTest, AModelsResultDoesNotDependOnItsCompany) {
  const std::shared_ptr<const Engine> reference = testing_engine::make(9);
  std::vector<double> alone;
  for (const TextModel& m : models_) {
    alone.push_back(
        measure_fidelity(Engine::open(m.path, engine_), reference, text_, 96, ops::KvType::f16).divergence->mean_kl);
  }
  EXPECT_GT(alone[0], 0.0);
  EXPECT_NE(alone[0], alone[1]);
  const uint64_t one = fs::file_size(models_[0].path);
  for (const uint64_t limit : {uint64_t{1}, 2 * one, 3 * one, uint64_t{1} << 30}) {
    EXPECT_EQ(divergences(reference, limit), alone) << limit;
  }
}

TEST_F(TextGroupsTest, WithoutAReferenceThereIsPerplexity) {
  std::vector<double> alone;
  for (const TextModel& m : models_) {
    alone.push_back(
        measure_fidelity(Engine::open(m.path, engine_), nullptr, text_, 96, ops::KvType::f16).perplexity.perplexity);
  }
  EXPECT_EQ(divergences(nullptr, uint64_t{1} << 30), alone);
}

TEST_F(TextGroupsTest, ModelsOfAGroupGoThroughTheTextTogether) {
  // Chunks are kept as they are done, "fidelity/CHUNK/...": 0 0 1 1 for two models that are open together.
  const auto chunks = [&](uint64_t group_bytes) {
    const std::string path = (folder_ / fmt::format("journal-{}", group_bytes)).string();
    Journal journal(path);
    settings_.journal = &journal;
    (void)divergences(testing_engine::make(9), group_bytes);
    std::vector<int> out;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
      int chunk = 0;
      const size_t at = line.find("fidelity/");
      if (at != std::string::npos && std::sscanf(line.c_str() + at, "fidelity/%d/", &chunk) == 1) out.push_back(chunk);
    }
    return out;
  };
  const std::vector<int> two = {0, 0, 1, 1, 0, 0, 1, 1}, one = {0, 1, 0, 1, 0, 1, 0, 1};
  EXPECT_EQ(chunks(2 * fs::file_size(models_[0].path)), two);
  EXPECT_EQ(chunks(1), one);
}

}  // namespace
}  // namespace thimble
