#include "tasks/task_check.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "tasks/near_duplicates.h"
#include "tasks/sha256.h"
#include "text/tokenizer_fixture.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

TEST(NearDuplicates, FindsCopiesWithAWordChangedAmongSharedInstructions) {
  const std::string instructions =
      "Translate the following sentence of a customer into English and write nothing else:\n";
  std::vector<std::string> texts;
  const std::vector<std::string> words = {"parcel", "refund", "window", "garden",
                                          "engine", "bottle", "ticket", "winter"};
  for (size_t i = 0; i < 40; ++i) {
    std::string text = instructions;
    for (size_t k = 0; k < 8; ++k) text += words[(i * 7 + k * (i + 3)) % 8] + std::to_string(i * 31 + k) + " ";
    texts.push_back(text);
  }
  EXPECT_TRUE(near_duplicates(texts, 0.8).empty());
  const std::string long_text =
      instructions +
      "I ordered two blue chairs on the third of May and only one of them has come until today, please help.";
  std::string changed = long_text;
  changed.replace(changed.find("blue"), 4, "grey");
  texts[5] = long_text;
  texts[33] = changed;
  const std::vector<NearPair> pairs = near_duplicates(texts, 0.8);
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(pairs[0].first, 5u);
  EXPECT_EQ(pairs[0].second, 33u);
  EXPECT_GT(pairs[0].similarity, 0.8);
  EXPECT_LT(pairs[0].similarity, 1.0);
}

TEST(NearDuplicates, ShortAndEmptyTexts) {
  EXPECT_TRUE(near_duplicates({}, 0.8).empty());
  EXPECT_TRUE(near_duplicates(std::vector<std::string>{"", "", "a", "a"}, 0.8).empty());
  EXPECT_EQ(near_duplicates(std::vector<std::string>(50, "all the same text"), 0.8).size(), 0u);  // all of it is common
  EXPECT_EQ(near_duplicates(std::vector<std::string>(3, "all the same text"), 0.8).size(), 3u);
}

class Check : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("thimble-check-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) const {
    write_file_atomically((folder_ / name).string(), text);
  }
  // A task of items with these ids and prompts, each its own cluster.
  void write_task(const std::vector<std::pair<std::string, std::string>>& items, const std::string& more = "") const {
    std::string data;
    for (const auto& [id, prompt] : items) data += item(id, prompt, R"("refs": ["An answer"])");
    write("t.jsonl", data);
    write("t.task.json", R"({"task": "t", "data": "t.jsonl", "license": "x", "sha256": ")" + sha256(data) +
                             R"(", "metrics": {"primary": "exact"})" + more + "}");
  }
  static std::string item(const std::string& id, const std::string& prompt, const std::string& rest) {
    return R"({"id": ")" + id + R"(", "messages": [{"role": "user", "content": ")" + prompt + "\"}], " + rest + "}\n";
  }
  std::string problems(const CheckModel* model = nullptr) const { return texts(model, true); }
  std::string warnings(const CheckModel* model = nullptr) const { return texts(model, false); }

  fs::path folder_;

 private:
  std::string texts(const CheckModel* model, bool of_problems) const {
    const FolderCheck r = check_tasks(folder_.string(), model);
    std::string out;
    for (const TaskCheck& t : r.tasks) {
      for (const Finding& f : t.findings) out += f.is_problem == of_problems ? f.text + "\n" : "";
    }
    for (const Finding& f : r.findings) out += f.is_problem == of_problems ? f.text + "\n" : "";
    EXPECT_TRUE(!of_problems || out.empty() == (r.n_problems() == 0));
    return out;
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(Check, RepeatedPrompts) {
  write_task({{"a", "One question"}, {"b", "Another one here"}, {"c", "one  QUESTION"}});
  EXPECT_TRUE(has(problems(), "prompts are there a second time (1): line 3 (c) as line 1 (a)")) << problems();
}

TEST_F(Check, NearlyTheSamePromptsAreAWarning) {
  write_task({{"a", "Where is the parcel that I ordered on the third of May, please?"},
              {"b", "Something else entirely"},
              {"c", "Where is the parcel that I ordered on the third of May, please??"}});
  EXPECT_EQ(problems(), "");
  EXPECT_TRUE(has(warnings(), "line 3 (c) as line 1 (a)")) << warnings();
}

TEST_F(Check, EvaluatedItemsInACalibrationFile) {
  write_task({{"a", "One question"}, {"b", "Another one here"}});
  write("t.calib.jsonl", item("x", "Quite a different question", R"("refs": [])"));
  EXPECT_EQ(problems(), "");
  EXPECT_EQ(check_tasks(folder_.string(), nullptr).tasks[0].n_calibration, 1u);
  write("t.calib.jsonl", item("x", " one question ", R"("refs": [])"));
  EXPECT_TRUE(has(problems(), "t.calib.jsonl are also evaluated (1): line 1 (x) as t line 1 (a)")) << problems();
  write("t.calib.jsonl", item("b", "Quite a different question", R"("refs": [])"));
  EXPECT_TRUE(has(problems(), "line 1 (b) as t line 2 (b)")) << problems();
  // The id of an item of another task says nothing; its prompt does.
  fs::remove(folder_ / "t.calib.jsonl");
  write("u.calib.jsonl", item("b", "Quite a different question", R"("refs": [])"));
  EXPECT_EQ(problems(), "");
  write("u.calib.jsonl", item("z", "Another one here", R"("refs": [])"));
  EXPECT_TRUE(has(problems(), "u.calib.jsonl")) << problems();
}

TEST_F(Check, ReferencesThatTheTaskItselfWouldRefuse) {
  write_task({{"a", "One question"}, {"b", "Another one here"}},
             R"(, "gen": {"stop": ["answer"]}, "format": {"max_chars": 5})");
  EXPECT_EQ(problems(), "");
  EXPECT_TRUE(has(warnings(), "references contain a stop text: right answers would be cut (2)")) << warnings();
  EXPECT_TRUE(has(warnings(), "break a rule of 'format' (9 characters, expected at most 5)")) << warnings();
  EXPECT_TRUE(has(warnings(), "2 clusters")) << warnings();
}

TEST_F(Check, TokensUnderTheChatTemplate) {
  const Tokenizer tokenizer = tokenizer_from(sentencepiece_fixture().metadata());  // of most letters one token a byte
  CheckModel model{&tokenizer, ChatTemplate::chatml, 100};
  write_task({{"a", "Short"}, {"b", std::string(60, 'x')}}, R"(, "gen": {"max_tokens": 8})");
  const TaskCheck t = check_tasks(folder_.string(), &model).tasks[0];
  ASSERT_TRUE(t.prompts && t.answers);
  EXPECT_EQ(t.prompts->least,
            static_cast<int64_t>(
                encode_chat(tokenizer, render_chat(ChatTemplate::chatml, {{{"user", "Short"}}}, true)).size()));
  EXPECT_EQ(t.prompts->most - t.prompts->least, 55);
  EXPECT_EQ(t.answers->most, static_cast<int64_t>(tokenizer.encode("An answer", SpecialTokens::as_text).size()));
  EXPECT_TRUE(has(warnings(&model), "references are longer than gen.max_tokens, 8 tokens")) << warnings(&model);
  model.n_ctx = t.prompts->most + 8;
  EXPECT_EQ(problems(&model), "");
  --model.n_ctx;
  EXPECT_TRUE(has(problems(&model), "items do not fit the context")) << problems(&model);
  EXPECT_TRUE(has(problems(&model), "line 2 (b)")) << problems(&model);
}

// What makes the scores of this repository mean something: no model is calibrated on what it is evaluated on.
TEST(RepositoryTasks, HaveNoProblems) {
  for (const char* folder : {"nano", "product"}) {
    const FolderCheck r = check_tasks(std::string(THIMBLE_SOURCE_DIR "/tasks/") + folder, nullptr);
    ASSERT_EQ(r.tasks.size(), 3u);
    for (const TaskCheck& t : r.tasks) {
      EXPECT_GE(t.n_calibration, 40u) << t.path;
      for (const Finding& f : t.findings) EXPECT_FALSE(f.is_problem) << t.path << ": " << f.text;
    }
    for (const Finding& f : r.findings) EXPECT_FALSE(f.is_problem) << folder << ": " << f.text;
    for (const TaskSet& task : read_tasks(std::string(THIMBLE_SOURCE_DIR "/tasks/") + folder)) {
      EXPECT_EQ(task.sha256.size(), 64u) << task.name;
      EXPECT_FALSE(task.license.empty()) << task.name;
      EXPECT_GT(task.version, 0) << task.name;
    }
  }
}

}  // namespace
}  // namespace thimble
