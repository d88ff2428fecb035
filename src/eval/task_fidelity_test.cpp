// Reference answers in their file, and models measured against them.
#include "eval/task_fidelity.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "base/error.h"
#include "eval/task_run.h"
#include "eval/test_engine.h"
#include "model/logit_divergence.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;
using Engines = std::vector<std::shared_ptr<const Engine>>;

TaskSet make_fidelity_task(size_t n_items) {
  TaskSet task;
  task.name = "echo";
  task.max_tokens = 12;
  task.primary = Metric::exact;
  task.metrics = {Metric::exact};
  task.data_hash = "data";
  for (size_t i = 0; i < n_items; ++i) {
    const std::string id = "item-" + std::to_string(i);
    task.items.push_back({id, i % 2 == 0 ? "even" : "odd", {{"user", "Say the number of " + id}}, {id}, {}});
  }
  return task;
}

class TaskFidelityTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("thimble-faithful-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  ReferenceSettings settings() const {
    ReferenceSettings s;
    s.folder = (folder_ / "reference").string();
    s.identity = {"model-1", "chatml", "tokenizer-1"};
    return s;
  }
  ReferenceAnswers make(const TaskSet& task, const Engines& engines, const Task& progress = {}) {
    calls_ = 0;
    const EngineSource source = [&] {
      ++calls_;
      return engines;
    };
    return reference_answers(task, settings(), source, progress);
  }
  fs::path folder_;
  int calls_ = 0;  // how often the model was asked for
};

std::string bytes_of(const std::string& path) {
  return read_file(path, 1 << 24);
}

TEST_F(TaskFidelityTest, MakingReferencesAnswersTheTaskForTheFloatModel) {
  const TaskSet task = make_fidelity_task(7);
  const Engines engines = {testing_engine::make(1), testing_engine::make(1)};
  Journal own, shared;
  TaskRunSettings run;
  run.model_key = "model-1";
  run.journal = &own;
  const std::string run_key = answers_run_key(run.model_key, "chatml", run.kv);
  const TaskResult expected = run_task(engines, task, run);
  // What the journal has already stays.
  run.journal = &shared;
  run.only = {2};
  (void)run_task(engines, task, run);
  const std::string third = *shared.find(answer_key(task, task.items[2], run_key));
  ReferenceSettings s = settings();
  s.answered = answers_into(shared, task, run_key);
  (void)reference_answers(task, s, [&] { return engines; });
  EXPECT_TRUE(unanswered(task, run_key, shared).empty());
  EXPECT_EQ(*shared.find(answer_key(task, task.items[2], run_key)), third);
  const TaskResult found = score_journal(task, run_key, shared);
  for (size_t i = 0; i < task.items.size(); ++i) {
    EXPECT_EQ(found.items[i].answer, expected.items[i].answer);
    EXPECT_EQ(found.items[i].truncated, expected.items[i].truncated);
  }
}

TEST_F(TaskFidelityTest, TheFloatModelDoesNotDifferFromItselfAndItsAnswersAreThoseOfTheTask) {
  const TaskSet task = make_fidelity_task(7);
  const Engines engines = {testing_engine::make(1), testing_engine::make(1)};
  const ReferenceAnswers reference = make(task, engines);
  const TaskFidelity f = measure_task_fidelity(engines, task, reference, {});
  ASSERT_EQ(f.items.size(), 7u);
  EXPECT_EQ(f.divergence.max_kl, 0.0);
  EXPECT_EQ(f.divergence.top1_agreement, 1.0);
  EXPECT_EQ(f.flipped_items, 0);
  EXPECT_NEAR(f.perplexity, f.divergence.reference_perplexity, 1e-5);
  const TaskResult answers = run_task(engines, task, {});
  for (size_t i = 0; i < 7; ++i) {
    const ReferenceAnswer a = reference.read(i);
    StreamDecoder decoder(engines[0]->tokenizer());
    std::string text;
    for (const TokenId t : a.tokens) text += engines[0]->tokenizer().is_end_of_generation(t) ? "" : decoder.push(t);
    EXPECT_EQ(text + decoder.finish(), answers.items[i].answer);
    EXPECT_EQ(a.truncated, answers.items[i].truncated);
  }
}

// One computation of the prompt, the same bits: the journal of both at once is that of one after the other.
TEST_F(TaskFidelityTest, AnsweringAndMeasuringAtOnceIsTheSameAsOneAfterTheOther) {
  const TaskSet task = make_fidelity_task(9);
  const Engines one = {testing_engine::make(1)}, other = {testing_engine::make(2), testing_engine::make(2)};
  const ReferenceAnswers reference = make(task, one);
  const auto settings = [](Journal& journal) {
    TaskRunSettings run;
    run.model_key = "model-2";
    run.journal = &journal;
    TaskFidelitySettings fidelity;
    fidelity.model_key = "model-2";
    fidelity.reference_key = "reference";
    fidelity.journal = &journal;
    return std::pair(run, fidelity);
  };
  const auto values = [&](Journal& journal) {
    auto [run, fidelity] = settings(journal);
    const TaskResult answers = run_task(other, task, run);
    const TaskFidelity f = measure_task_fidelity(other, task, reference, fidelity);
    std::vector<std::string> texts;
    for (const ItemResult& item : answers.items) texts.push_back(item.answer);
    std::vector<std::vector<float>> kl;
    std::vector<std::vector<int64_t>> flips;
    for (const ItemFidelity& item : f.items) {
      kl.push_back(item.kl);
      flips.push_back(item.flips);
    }
    return std::tuple(texts, kl, flips);
  };
  Journal apart, together, half;
  const auto expected = values(apart);
  for (const size_t n_batch : {size_t{1}, size_t{3}}) {
    Journal journal;
    auto [run, fidelity] = settings(journal);
    run.n_batch = n_batch;
    answer_and_measure(other, task, reference, run, fidelity);
    EXPECT_TRUE(unmeasured(task, fidelity, journal).empty());
    EXPECT_TRUE(unanswered(task, answers_run_key("model-2", "chatml", run.kv), journal).empty());
    EXPECT_EQ(values(journal), expected);
  }
  // What is there already is neither done again nor touched; a stopped run leaves whole items.
  auto [run, fidelity] = settings(half);
  run.only = {0, 4, 5};
  (void)run_task(other, task, run);
  run.only.reset();
  CancelToken cancel;
  Task stopped;
  stopped.cancel = &cancel;
  stopped.progress = [&](uint64_t done, uint64_t, std::string_view) {
    if (done == 2) cancel.cancel();
  };
  EXPECT_THROW(answer_and_measure(other, task, reference, run, fidelity, stopped), Error);
  EXPECT_EQ(values(half), expected);
  // Settings that would not find each other's results.
  fidelity.n_ctx = 200;
  EXPECT_THROW(answer_and_measure(other, task, reference, run, fidelity), Error);
  fidelity.n_ctx = 0;
  fidelity.journal = &together;
  EXPECT_THROW(answer_and_measure(other, task, reference, run, fidelity), Error);
}

// Against full rows of both models, computed here one token at a time.
TEST_F(TaskFidelityTest, ValuesAreThoseOfTheFullPredictionsCutToTheTop) {
  const TaskSet task = make_fidelity_task(3);
  const Engines one = {testing_engine::make(1)}, other = {testing_engine::make(2)};
  const ReferenceAnswers reference = make(task, one);
  const TaskFidelity f = measure_task_fidelity(other, task, reference, {});
  double below = 0;
  for (size_t i = 0; i < task.items.size(); ++i) {
    const ReferenceAnswer a = reference.read(i);
    EXPECT_EQ(a.n_top, kTopTokens);
    SessionOptions options;
    options.n_ctx = 256;
    Session p(one[0], options), q(other[0], options);
    const auto prompt = one[0]->encode_chat(task_messages(task, task.items[i]));
    p.feed(prompt);
    q.feed(prompt);
    ASSERT_EQ(f.items[i].kl.size(), a.tokens.size());
    std::vector<int64_t> flips;
    double nll = 0;
    for (size_t n = 0; n < a.tokens.size(); ++n) {
      const double full = kl_divergence(p.logits(), q.logits());
      const double got = static_cast<double>(f.items[i].kl[n]);
      EXPECT_LE(got, full + 1e-5) << "a lower bound";
      below += full - got;
      TopLogProbs top;
      std::vector<TokenId> ids;
      std::vector<float> log_p;
      const float tail = top.take(p.logits(), kTopTokens, ids, log_p);
      EXPECT_EQ(static_cast<float>(top.divergence({ids, log_p, tail}, q.logits())), f.items[i].kl[n]);
      EXPECT_EQ(a.tail[n], tail);
      if (argmax(q.logits()) != argmax(p.logits())) flips.push_back(static_cast<int64_t>(n));
      nll += log_normaliser(q.logits()) - static_cast<double>(q.logits()[static_cast<size_t>(a.tokens[n])]);
      p.feed(std::span(&a.tokens[n], 1));
      q.feed(std::span(&a.tokens[n], 1));
    }
    EXPECT_EQ(f.items[i].flips, flips);
    EXPECT_NEAR(f.items[i].nll, nll, 1e-6 * (1 + std::abs(nll)));
  }
  EXPECT_GT(below, 0) << "300 tokens of a random model are not all in the top 64";
  EXPECT_GT(f.mean_tail, 0);
  EXPECT_GT(f.flipped_items, 0);
  EXPECT_LT(f.divergence.top1_agreement, 1);
}

TEST_F(TaskFidelityTest, AFinishedFileIsUsedWithoutTheModel) {
  const TaskSet task = make_fidelity_task(4);
  const Engines engines = {testing_engine::make(1)};
  (void)make(task, engines);
  EXPECT_EQ(calls_, 1);
  (void)make(task, engines);
  EXPECT_EQ(calls_, 0);
}

TEST_F(TaskFidelityTest, AStoppedRunGoesOnAndMakesTheSameFile) {
  const TaskSet task = make_fidelity_task(6);
  const Engines engines = {testing_engine::make(1)};
  const std::string path = reference_file(task, settings()).path;
  CancelToken cancel;
  Task stops;
  stops.cancel = &cancel;
  uint64_t seen = 0;
  stops.progress = [&](uint64_t done, uint64_t, std::string_view) {
    seen = done;
    if (done >= 2) cancel.cancel();
  };
  EXPECT_THROW(make(task, engines, stops), Error);
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::exists(path + ".unfinished"));
  uint64_t first = 0;
  Task goes_on;
  goes_on.progress = [&](uint64_t done, uint64_t, std::string_view) { first = first == 0 ? done : first; };
  const ReferenceAnswers resumed = make(task, engines, goes_on);
  EXPECT_EQ(first, seen + 1) << "nothing is done twice";
  const TaskFidelity f = measure_task_fidelity(engines, task, resumed, {});
  EXPECT_EQ(f.divergence.max_kl, 0.0);
}

TEST_F(TaskFidelityTest, ADamagedOrForeignFileIsMadeAgainWithAWarning) {
  const TaskSet task = make_fidelity_task(3);
  const Engines engines = {testing_engine::make(1)};
  const std::string path = make(task, engines).path();
  const std::string good = bytes_of(path);
  std::vector<std::string> warnings;
  Task listening;
  listening.log = [&](LogLevel, std::string_view text) { warnings.emplace_back(text); };
  const auto rebuilds = [&](const std::string& bytes, std::string_view why) {
    warnings.clear();
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    (void)make(task, engines, listening);
    EXPECT_EQ(calls_, 1);
    ASSERT_EQ(warnings.size(), 1u) << why;
    EXPECT_NE(warnings[0].find(why), std::string::npos) << warnings[0];
    EXPECT_EQ(bytes_of(path), good);
  };
  rebuilds(good.substr(0, good.size() - 7), "torn or damaged");
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 1);
  rebuilds(flipped, "torn or damaged");
  rebuilds("something else", "no whole header");

  // A file of other inputs under this name: what names the inputs is the header.
  TaskSet changed = task;
  changed.items[1].messages[0].content += "!";
  ReferenceSettings elsewhere = settings();
  elsewhere.folder = (folder_ / "elsewhere").string();
  const ReferenceAnswers foreign = reference_answers(changed, elsewhere, [&] { return engines; });
  EXPECT_NE(fs::path(foreign.path()).filename(), fs::path(path).filename());
  rebuilds(bytes_of(foreign.path()), "'prompts'");
  EXPECT_THROW(ReferenceAnswers(foreign.path(), reference_file(task, settings()).header), Error);
}

TEST_F(TaskFidelityTest, EveryInputChangesTheFile) {
  const TaskSet task = make_fidelity_task(3);
  const ReferenceSettings base = settings();
  std::vector<std::string> paths = {reference_file(task, base).path};
  const auto add = [&](const TaskSet& t, const ReferenceSettings& s) { paths.push_back(reference_file(t, s).path); };
  for (std::string ReferenceIdentity::*member :
       {&ReferenceIdentity::model, &ReferenceIdentity::chat_template, &ReferenceIdentity::tokenizer}) {
    ReferenceSettings s = base;
    s.identity.*member += "x";
    add(task, s);
  }
  TaskSet t = task;
  t.max_tokens = 13;
  add(t, base);
  t = task;
  t.stop = {"\n"};
  add(t, base);
  t = task;
  t.data_hash = "other";
  add(t, base);
  t = task;
  t.system = "Be short.";
  add(t, base);
  ReferenceSettings s = base;
  s.only = {0, 2};
  add(task, s);
  std::sort(paths.begin(), paths.end());
  EXPECT_EQ(std::unique(paths.begin(), paths.end()), paths.end());
}

TEST_F(TaskFidelityTest, RecordsThatMakeNoSenseAreRefused) {
  ReferenceAnswer a;
  a.item = 1;
  a.prompt_hash = std::string(32, 'f');
  a.tokens = {3};
  a.n_top = 2;
  a.top = {3, 4};
  a.log_p = {-0.5f, -1.5f};
  a.tail = {0.1f};
  EXPECT_EQ(parse_reference(encode_reference(a), "x").top, a.top);
  const auto refused = [](ReferenceAnswer bad) { EXPECT_THROW(parse_reference(encode_reference(bad), "x"), Error); };
  ReferenceAnswer b = a;
  b.tail = {1.5f};
  refused(b);
  b = a;
  b.log_p[1] = std::nanf("");
  refused(b);
  b = a;
  b.top[0] = -1;
  refused(b);
  b = a;
  b.tokens.clear();
  refused(b);
  const std::vector<std::byte> bytes = encode_reference(a);
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_THROW(parse_reference(std::span(bytes).first(n), "x"), Error) << n;
  }
}

TEST_F(TaskFidelityTest, AnotherTemplateIsRefused) {
  const TaskSet task = make_fidelity_task(2);
  const ReferenceAnswers reference = make(task, {testing_engine::make(1)});
  TaskSet other = task;
  other.items[0].messages[0].content = "Another prompt";
  const Engines engines = {testing_engine::make(2)};
  try {
    (void)measure_task_fidelity(engines, other, reference, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("item-0"), std::string::npos) << e.what();
  }
}

TEST_F(TaskFidelityTest, ADamagedModelOrReferenceIsAnError) {
  const TaskSet task = make_fidelity_task(2);
  const Engines good = {testing_engine::make(1)},
                damaged = {testing_engine::make(1, [](SyntheticModel&model) {
                  const auto offset = model.gguf.tensor("output_norm.weight").view.data.data() - model.image.data();
                  const float nan = std::nanf("");
                  std::memcpy(model.image.data() + offset, &nan, sizeof nan);
                })};
  EXPECT_THROW(make(task, damaged), Error);
  const ReferenceAnswers reference = make(task, good);
  try {
    (void)measure_task_fidelity(damaged, task, reference, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::corrupt) << e.what();
  }
}

TEST_F(TaskFidelityTest, TheJournalGivesTheSameResultAndAPartIsTheSameAsInTheWhole) {
  const TaskSet task = make_fidelity_task(5);
  const Engines engines = {testing_engine::make(2)};
  const ReferenceAnswers reference = make(task, {testing_engine::make(1)});
  Journal journal;
  TaskFidelitySettings s;
  s.model_key = "m";
  s.reference_key = "r";
  s.journal = &journal;
  s.only = {1, 3};
  EXPECT_EQ(unmeasured(task, s, journal), (std::vector<size_t>{1, 3}));
  const TaskFidelity part = measure_task_fidelity(engines, task, reference, s);
  EXPECT_EQ(journal.size(), 2u);
  EXPECT_TRUE(unmeasured(task, s, journal).empty());
  s.only.reset();
  EXPECT_EQ(unmeasured(task, s, journal), (std::vector<size_t>{0, 2, 4}));
  EXPECT_THROW(fidelity_from_journal(task, s, journal), Error);
  const TaskFidelity whole = measure_task_fidelity(engines, task, reference, s);
  EXPECT_EQ(journal.size(), 5u);
  const TaskFidelity again = fidelity_from_journal(task, s, journal);
  EXPECT_EQ(again.divergence.mean_kl, whole.divergence.mean_kl);
  EXPECT_EQ(again.perplexity, whole.perplexity);
  EXPECT_EQ(whole.items[1].kl, part.items[0].kl);
  EXPECT_EQ(whole.items[3].flips, part.items[1].flips);
}

TEST_F(TaskFidelityTest, SummaryCountsTokensAndAnswers) {
  ItemFidelity a, b;
  a.kl.assign(20, 0.5f);
  a.flips = {3, 17};
  a.nll = 20;
  a.reference_nll = 10;
  a.tail = 2;
  b.kl.assign(4, 0.0f);
  b.nll = 4;
  b.reference_nll = 2;
  const TaskFidelity f = summarise("t", {a, b});
  EXPECT_EQ(f.n_tokens, 24);
  EXPECT_EQ(f.flipped_items, 1);
  EXPECT_NEAR(f.divergence.mean_kl, 10.0 / 24, 1e-12);
  EXPECT_NEAR(f.divergence.top1_agreement, 22.0 / 24, 1e-12);
  EXPECT_NEAR(f.perplexity, std::exp(1.0), 1e-12);
  EXPECT_NEAR(f.divergence.reference_perplexity, std::exp(0.5), 1e-12);
  EXPECT_NEAR(f.mean_tail, 2.0 / 24, 1e-12);
  ASSERT_EQ(f.stretches.size(), 2u);
  EXPECT_EQ(f.stretches[0].n_tokens, 20);  // 16 of a, 4 of b
  EXPECT_NEAR(f.stretches[0].mean_kl, 8.0 / 20, 1e-12);
  EXPECT_NEAR(f.stretches[0].top1_agreement, 19.0 / 20, 1e-12);
  EXPECT_EQ(f.stretches[1].n_tokens, 4);
  EXPECT_NEAR(f.stretches[1].top1_agreement, 3.0 / 4, 1e-12);
  EXPECT_EQ(summarise("t", {}).n_tokens, 0);
}

TEST(PooledFidelity, WeighsTasksByTheirTokens) {
  EXPECT_FALSE(pool_fidelity({}).has_value());
  std::vector<TaskFidelity> tasks(2);
  tasks[0].n_tokens = 30;
  tasks[0].divergence.mean_kl = 0.1;
  tasks[0].divergence.top1_agreement = 1.0;
  tasks[0].items.resize(4);
  tasks[0].flipped_items = 1;
  tasks[1].n_tokens = 10;
  tasks[1].divergence.mean_kl = 0.5;
  tasks[1].divergence.top1_agreement = 0.6;
  tasks[1].items.resize(2);
  tasks[1].flipped_items = 2;
  const std::optional<PooledFidelity> f = pool_fidelity(tasks);
  ASSERT_TRUE(f.has_value());
  EXPECT_EQ(f->n_tokens, 40);
  EXPECT_DOUBLE_EQ(f->mean_kl, 0.2);
  EXPECT_DOUBLE_EQ(f->top1_agreement, 0.9);
  EXPECT_EQ(f->n_items, 6);
  EXPECT_EQ(f->flipped_items, 3);
}

}  // namespace
}  // namespace thimble
