#include "eval/task_run.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "base/error.h"
#include "eval/test_engine.h"

namespace thimble {
namespace {

TaskSet make_task(size_t n_items) {
  TaskSet task;
  task.name = "echo";
  task.max_tokens = 8;
  task.primary = Metric::exact;
  task.metrics = {Metric::exact, Metric::edit_similarity};
  for (size_t i = 0; i < n_items; ++i) {
    const std::string id = "item-" + std::to_string(i);
    task.items.push_back({id, i % 2 == 0 ? "even" : "odd", {{"user", "Say the number of " + id}}, {id}, {}});
  }
  return task;
}

TaskRunSettings settings_with(Journal* journal, size_t n_batch = 0) {
  TaskRunSettings s;
  s.model_key = "m";
  s.journal = journal;
  s.n_batch = n_batch;
  return s;
}

class TaskRun : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("thimble-run-" + std::to_string(::getpid()) + "-" +
                                                        testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string journal_path() const { return (folder_ / "journal.jsonl").string(); }
  std::filesystem::path folder_;
};

TEST_F(TaskRun, ScoresEveryItemInOrderWhateverTheNumberOfWorkers) {
  const TaskSet task = make_task(37);
  for (const size_t n_workers : {1u, 2u, 5u, 60u}) {
    const Answerer echo = [&](size_t i) { return Answer{i % 3 == 0 ? "wrong" : task.items[i].id, false}; };
    const std::vector<Answerer> workers(n_workers, echo);
    const TaskResult r = run_items(task, workers, "k", nullptr, {});
    ASSERT_EQ(r.items.size(), 37u);
    for (size_t i = 0; i < 37; ++i) {
      EXPECT_EQ(r.items[i].id, task.items[i].id);
      EXPECT_EQ(r.items[i].scores.at(Metric::exact), i % 3 == 0 ? 0.0 : 1.0);
    }
    EXPECT_NEAR(r.mean(Metric::exact), 24.0 / 37.0, 1e-12);
    EXPECT_EQ(r.points()[1], 100.0);
    EXPECT_EQ(r.clusters()[1], "odd");
  }
}

TEST_F(TaskRun, AStoppedRunGoesOnWhereItStoppedAndDoesNothingTwice) {
  const TaskSet task = make_task(20);
  std::atomic<int> calls{0};
  const auto dies_after = [&](int n) {
    return Answerer([&calls, &task, n](size_t i) {
      if (calls.fetch_add(1) >= n) fail(ErrorCode::io, "the plug was pulled");
      return Answer{task.items[i].id, i == 3};
    });
  };
  {
    Journal journal(journal_path());
    EXPECT_THROW(run_items(task, std::vector{dies_after(7)}, "k", &journal, {}), Error);
    EXPECT_EQ(journal.size(), 7u);
  }
  calls = 0;
  Journal journal(journal_path());
  const TaskResult resumed = run_items(task, std::vector{dies_after(1000)}, "k", &journal, {});
  EXPECT_EQ(calls.load(), 13);
  EXPECT_EQ(resumed.mean(Metric::exact), 1.0);
  EXPECT_TRUE(resumed.items[3].truncated);

  calls = 0;
  (void)run_items(task, std::vector{dies_after(1000)}, "k", &journal, {});
  EXPECT_EQ(calls.load(), 0);
  (void)run_items(task, std::vector{dies_after(1000)}, "another model", &journal, {});
  EXPECT_EQ(calls.load(), 20);
}

TEST_F(TaskRun, ChangedReferencesAreScoredAgainWithoutNewAnswersChangedPromptsAreNot) {
  TaskSet task = make_task(4);
  Journal journal(journal_path());
  int calls = 0;
  const std::vector<Answerer> workers = {[&](size_t) {
    ++calls;
    return Answer{"item-0", false};
  }};
  EXPECT_EQ(run_items(task, workers, "k", &journal, {}).mean(Metric::exact), 0.25);
  task.items[1].refs = {"item-0"};
  EXPECT_EQ(run_items(task, workers, "k", &journal, {}).mean(Metric::exact), 0.5);
  EXPECT_EQ(calls, 4);
  task.items[1].messages[0].content = "Something else";
  (void)run_items(task, workers, "k", &journal, {});
  EXPECT_EQ(calls, 5);
}

TEST_F(TaskRun, CancellingStopsAndKeepsWhatIsDone) {
  const TaskSet task = make_task(10);
  Journal journal(journal_path());
  CancelToken cancel;
  Task progress;
  progress.cancel = &cancel;
  const std::vector<Answerer> workers = {[&](size_t i) {
    if (i == 4) cancel.cancel();
    return Answer{"x", false};
  }};
  try {
    (void)run_items(task, workers, "k", &journal, progress);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::cancelled);
  }
  EXPECT_EQ(journal.size(), 5u);
}

TEST_F(TaskRun, EngineAnswersAreTheSameForOneOrSeveralEnginesAndAfterAResumption) {
  const TaskSet task = make_task(6);
  const auto model = testing_engine::make(1);
  const auto second = testing_engine::make(1);
  const TaskRunSettings settings = settings_with(nullptr);
  const TaskResult one = run_task(std::span(&model, 1), task, settings);
  const std::vector<std::shared_ptr<const Engine>> both = {model, second};
  const TaskResult two = run_task(both, task, settings);
  Journal journal(journal_path());
  TaskRunSettings kept = settings_with(&journal);
  kept.n_batch = 1;
  CancelToken cancel;
  Task stops_after_three;
  stops_after_three.cancel = &cancel;
  stops_after_three.progress = [&](uint64_t done, uint64_t, std::string_view) {
    if (done == 3) cancel.cancel();
  };
  EXPECT_THROW(run_task(std::span(&model, 1), task, kept, stops_after_three), Error);
  EXPECT_GE(journal.size(), 3u);  // what was finished in the same step is kept as well
  EXPECT_LT(journal.size(), 6u);
  const TaskResult resumed = run_task(std::span(&second, 1), task, kept);
  ASSERT_EQ(one.items.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(one.items[i].answer, two.items[i].answer);
    EXPECT_EQ(one.items[i].answer, resumed.items[i].answer);
  }
}

TEST_F(TaskRun, AnswersAreTheSameWhateverTheBatch) {
  TaskSet task = make_task(11);
  for (size_t i = 0; i < task.items.size(); ++i) {
    // Prompts and answers of different lengths, so that items leave and join the batch at different steps.
    task.items[i].messages[0].content += std::string(3 * i % 17, static_cast<char>('a' + i));
  }
  task.stop = {"a", "e"};
  for (const ops::KvType kv : {ops::KvType::f16, ops::KvType::int8}) {
    const std::vector<std::shared_ptr<const Engine>> engines = {testing_engine::make(3), testing_engine::make(3)};
    TaskRunSettings alone = settings_with(nullptr, 1);
    alone.kv = kv;
    const TaskResult want = run_task(std::span(engines).first(1), task, alone);
    for (const size_t n_batch : {2u, 3u, 8u, 64u}) {
      for (const size_t n_engines : {1u, 2u}) {
        TaskRunSettings s = settings_with(nullptr, n_batch);
        s.kv = kv;
        const TaskResult got = run_task(std::span(engines).first(n_engines), task, s);
        for (size_t i = 0; i < task.items.size(); ++i) {
          EXPECT_EQ(got.items[i].answer, want.items[i].answer) << "batch " << n_batch << ", item " << i;
          EXPECT_EQ(got.items[i].truncated, want.items[i].truncated);
        }
      }
    }
  }
}

TEST_F(TaskRun, ASelectionAnswersItsItemsAsTheWholeDoesAndScoringNeedsNoModel) {
  const TaskSet task = make_task(7);
  const auto model = testing_engine::make(1);
  const TaskResult whole = run_task(std::span(&model, 1), task, settings_with(nullptr));
  Journal journal;
  TaskRunSettings part = settings_with(&journal);
  part.only = {1, 4, 6};
  const TaskResult some = run_task(std::span(&model, 1), task, part);
  ASSERT_EQ(some.items.size(), 3u);
  EXPECT_EQ(some.items[1].answer, whole.items[4].answer);
  const std::string key = answers_run_key("m", chat_template_name(model->chat_template()), ops::KvType::f16);
  EXPECT_EQ(unanswered(task, key, journal), (std::vector<size_t>{0, 2, 3, 5}));
  const TaskResult scored = score_journal(task, key, journal, part.only);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(scored.items[i].id, some.items[i].id);
    EXPECT_EQ(scored.items[i].answer, some.items[i].answer);
    EXPECT_EQ(scored.items[i].scores, some.items[i].scores);
  }
  try {
    (void)score_journal(task, key, journal);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
    EXPECT_NE(std::string(e.what()).find("item-0"), std::string::npos) << e.what();
  }
}

TEST_F(TaskRun, AnswersEndAtTheLimitAndAtStopTexts) {
  TaskSet task = make_task(1);
  const auto model = testing_engine::make(1);
  const TaskRunSettings settings = settings_with(nullptr);
  const ItemResult whole = run_task(std::span(&model, 1), task, settings).items[0];
  ASSERT_GT(whole.answer.size(), 3u) << "the random model says something";
  task.stop = {whole.answer.substr(2, 2)};
  const ItemResult cut = run_task(std::span(&model, 1), task, settings).items[0];
  EXPECT_EQ(cut.answer, whole.answer.substr(0, whole.answer.find(task.stop[0])));
  EXPECT_FALSE(cut.truncated);
}

TEST_F(TaskRun, AnItemThatDoesNotFitTheContextIsNamed) {
  TaskSet task = make_task(2);
  task.items[1].messages[0].content = std::string(5000, 'x');
  const auto model = testing_engine::make(1);
  try {
    (void)run_task(model, task, ops::KvType::f16, 0, "m", nullptr);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::resource_exhausted);
    EXPECT_NE(std::string(e.what()).find("item-1"), std::string::npos) << e.what();
  }
}

// models/nano, converted by the test make_nano: the figures of its model card.
TEST(SlowNanoTasks, FloatModelAnswersEveryItemExactly) {
  const auto engine = Engine::open(THIMBLE_BINARY_DIR "/nano-f16.gguf", {});
  for (const TaskSet& task : read_tasks(THIMBLE_SOURCE_DIR "/tasks/nano")) {
    const TaskResult r = run_task(engine, task, ops::KvType::f16, 0, "nano", nullptr);
    EXPECT_EQ(r.mean(Metric::exact), 1.0) << task.name;
    EXPECT_EQ(r.mean(Metric::fact_recall), 1.0) << task.name;
  }
}

}  // namespace
}  // namespace thimble
