#include "eval/fidelity.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "eval/test_engine.h"

namespace thimble {
namespace {

TEST(Fidelity, SummaryOfChunksIsTheSummaryOfTheirTokens) {
  ChunkScore a{2, 3.0, 5.0, 2.5, 1, {0.5f, 0.0f}};
  ChunkScore b{2, 1.0, 1.0, 1.5, 2, {0.25f, 1.0f}};
  const std::vector<ChunkScore> chunks = {a, b};
  const FidelityResult r = summarise(chunks);
  EXPECT_DOUBLE_EQ(r.perplexity.perplexity, std::exp(1.0));
  EXPECT_DOUBLE_EQ(r.perplexity.standard_error, std::exp(1.0) * std::sqrt((6.0 / 4 - 1.0) / 3.0));
  EXPECT_EQ(r.perplexity.n_scored, 4);
  ASSERT_TRUE(r.divergence.has_value());
  EXPECT_DOUBLE_EQ(r.divergence->mean_kl, 1.75 / 4);
  EXPECT_DOUBLE_EQ(r.divergence->median_kl, 0.375);
  EXPECT_NEAR(r.divergence->p99_kl, 0.5 + 0.97 * 0.5, 1e-9);
  EXPECT_DOUBLE_EQ(r.divergence->max_kl, 1.0);
  EXPECT_DOUBLE_EQ(r.divergence->top1_agreement, 0.75);
  EXPECT_DOUBLE_EQ(r.divergence->reference_perplexity, std::exp(1.0));
}

TEST(Fidelity, ScoresTheSecondHalfOfEveryChunk) {
  const auto engine = testing_engine::make(1);
  const std::string text(200, 'x');
  const FidelityResult r = measure_fidelity(engine, nullptr, text, 32, ops::KvType::f16);
  EXPECT_GE(r.perplexity.n_chunks, 5);
  EXPECT_EQ(r.perplexity.n_scored, r.perplexity.n_chunks * 15);  // positions 16 .. 30
  EXPECT_FALSE(r.divergence.has_value());

  // The same by hand from one chunk's logits.
  const std::vector<TokenId> all = engine->tokenizer().encode_prompt(text, SpecialTokens::as_text);
  std::vector<TokenId> first(all.begin(), all.begin() + 32);
  SessionOptions options;
  options.n_ctx = 32;
  Session session(engine, options);
  double nll = 0;
  session.score(first, [&](int64_t position, std::span<const float> logits) {
    if (position < 16 || position > 30) return;
    double sum = 0;
    for (const float l : logits) sum += std::exp(static_cast<double>(l));
    nll += std::log(sum) - logits[static_cast<size_t>(first[static_cast<size_t>(position) + 1])];
  });
  const std::string one_chunk(40, 'x');
  const FidelityResult one = measure_fidelity(engine, nullptr, one_chunk, 32, ops::KvType::f16);
  ASSERT_EQ(one.perplexity.n_chunks, 1);
  EXPECT_NEAR(std::log(one.perplexity.perplexity), nll / 15, 1e-5);
}

TEST(Fidelity, AModelAgreesWithItselfAndDiffersFromAnother) {
  const auto a = testing_engine::make(1);
  const auto b = testing_engine::make(2);
  const std::string text = "Some text that is long enough for a few chunks of thirty-two tokens each, over and over.";
  const FidelityResult same = measure_fidelity(a, a, text, 32, ops::KvType::f16);
  EXPECT_NEAR(same.divergence->max_kl, 0.0, 1e-5);
  EXPECT_EQ(same.divergence->top1_agreement, 1.0);
  EXPECT_NEAR(same.divergence->reference_perplexity, same.perplexity.perplexity, 1e-9 * same.perplexity.perplexity);
  const FidelityResult other = measure_fidelity(b, a, text, 32, ops::KvType::f16);
  EXPECT_GT(other.divergence->mean_kl, 1e-3);
  EXPECT_LT(other.divergence->top1_agreement, 1.0);
}

TEST(Fidelity, ShortTextsAndSillyChunksAreRefused) {
  const auto engine = testing_engine::make(1);
  EXPECT_THROW(measure_fidelity(engine, nullptr, "short", 32, ops::KvType::f16), Error);
  EXPECT_THROW(measure_fidelity(engine, nullptr, std::string(9999, 'x'), 257, ops::KvType::f16), Error);
  EXPECT_THROW(measure_fidelity(engine, nullptr, std::string(9999, 'x'), 2, ops::KvType::f16), Error);
}

TEST(Fidelity, AShortTextIsNamed) {
  const FidelityModel model{testing_engine::make(1), ""};
  FidelitySettings settings;
  settings.n_ctx = 32;
  settings.text_source = "minutes.txt";
  try {
    measure_fidelity(std::span(&model, 1), nullptr, "short", settings);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_TRUE(std::string_view(e.what()).starts_with("minutes.txt: the text has ")) << e.what();
  }
}

TEST(Fidelity, ADamagedModelOrReferenceIsAnError) {
  const auto good = testing_engine::make(1);
  const auto damaged = testing_engine::make(1, [](SyntheticModel& model) {
    const auto offset = model.gguf.tensor("output_norm.weight").view.data.data() - model.image.data();
    const float nan = std::nanf("");
    std::memcpy(model.image.data() + offset, &nan, sizeof nan);
  });
  const std::string text(100, 'x');
  for (const auto& [model, reference] : {std::pair(damaged, good), std::pair(good, damaged)}) {
    try {
      measure_fidelity(model, reference, text, 32, ops::KvType::f16);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::corrupt) << e.what();
    }
  }
}

TEST(Fidelity, JournalledChunksAreNotRunAgainAndGiveTheSameResult) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("thimble-fidelity-" + std::to_string(::getpid()) + ".jsonl");
  std::filesystem::remove(path);
  const auto a = testing_engine::make(1);
  const auto b = testing_engine::make(2);
  const std::vector<FidelityModel> models = {{a, "a"}, {b, "b"}};
  const std::string text(150, 'q');
  int runs = 0;
  Task task;
  task.progress = [&](uint64_t, uint64_t, std::string_view) { ++runs; };
  std::vector<FidelityResult> first;
  {
    Journal journal(path.string());
    FidelitySettings settings{32, ops::KvType::f16, "ref", &journal};
    first = measure_fidelity(models, a, text, settings, task);
    EXPECT_EQ(static_cast<size_t>(runs) + models.size(), journal.size()) << "and how many chunks they are, per model";
    EXPECT_EQ(runs, 2 * first[0].perplexity.n_chunks);
  }
  runs = 0;
  Journal journal(path.string());
  const FidelitySettings settings{32, ops::KvType::f16, "ref", &journal};
  const std::vector<FidelityResult> again = measure_fidelity(models, a, text, settings, task);
  EXPECT_EQ(runs, 0);
  for (size_t m = 0; m < 2; ++m) {
    EXPECT_EQ(again[m].perplexity.perplexity, first[m].perplexity.perplexity);
    EXPECT_NEAR(again[m].divergence->mean_kl, first[m].divergence->mean_kl, 1e-9);
  }
  std::filesystem::remove(path);
}

// models/nano, converted by the test make_nano. 32.0066 is stock llama.cpp's value (models/nano/MODEL_CARD.md).
TEST(SlowNanoFidelity, PerplexityIsThatOfTheModelCard) {
  const auto engine = Engine::open(THIMBLE_BINARY_DIR "/nano-f16.gguf", {});
  const std::string text = read_file(THIMBLE_SOURCE_DIR "/models/nano/text/heldout.txt", 1 << 20);
  const FidelityResult r = measure_fidelity(engine, nullptr, text, 512, ops::KvType::f16);
  EXPECT_EQ(r.perplexity.n_chunks, 117);
  EXPECT_NEAR(r.perplexity.perplexity, 32.0066, 0.001 * 32.0066);
  EXPECT_NEAR(r.perplexity.standard_error, 0.49964, 0.01);
}

}  // namespace
}  // namespace thimble
