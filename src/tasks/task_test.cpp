#include "tasks/task.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "tasks/sha256.h"

namespace thimble {
namespace {

const char* const kTask = R"({"task": "t", "version": 1, "data": "t.jsonl", "license": "Apache-2.0",
  "gen": {"max_tokens": 32, "stop": ["\n\n"]}, "metrics": {"primary": "exact", "also": ["chrf2", "exact"]}})";
const char* const kItem = R"({"id": "a", "messages": [{"role": "user", "content": "Hi"}], "refs": ["Ho"]})";

class TaskFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("thimble-task-" + std::to_string(::getpid()) + "-" +
                                                        testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    write("t.task.json", kTask);
    write("t.jsonl", kItem);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }

  // Reads the folder and requires an error whose message has every one of `parts`.
  void expect_error(ErrorCode code, const std::vector<std::string>& parts) {
    try {
      (void)read_tasks(folder_.string());
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      for (const std::string& part : parts) EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  }

  std::filesystem::path folder_;
};

TEST_F(TaskFiles, ReadsWhatTheFilesSay) {
  const std::string second =
      R"({"id": "b", "cluster": "c", "task": "t", "meta": {"x": 1}, "items": [], "facts_auto": [],)"
      R"( "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],)"
      R"( "refs": ["R", "Q"], "facts": [["one", "1"], ["two"]]})";
  write("t.jsonl", std::string(kItem) + "\r\n\n" + second);
  const std::vector<TaskSet> tasks = read_tasks(folder_.string());
  ASSERT_EQ(tasks.size(), 1u);
  const TaskSet& t = tasks[0];
  EXPECT_EQ(t.name, "t");
  EXPECT_EQ(t.max_tokens, 32);
  EXPECT_EQ(t.stop, std::vector<std::string>{"\n\n"});
  EXPECT_EQ(t.primary, Metric::exact);
  EXPECT_EQ(t.metrics, (std::vector<Metric>{Metric::exact, Metric::chrf2}));
  ASSERT_EQ(t.items.size(), 2u);
  EXPECT_EQ(t.items[0].cluster, "a");
  EXPECT_EQ(t.items[1].cluster, "c");
  EXPECT_EQ(t.items[1].facts[0], (std::vector<std::string>{"one", "1"}));
  EXPECT_FALSE(t.data_hash.empty());
}

TEST_F(TaskFiles, SystemPromptGoesToTheRoleThatIsAskedFor) {
  TaskSet task = read_task((folder_ / "t.task.json").string());
  EXPECT_EQ(task_messages(task, task.items[0]).size(), 1u);
  task.system = "Be brief.";
  EXPECT_EQ(task_messages(task, task.items[0])[0].role, "system");
  task.system_role = "user";
  const std::vector<ChatMessage> merged = task_messages(task, task.items[0]);
  ASSERT_EQ(merged.size(), 1u);
  EXPECT_EQ(merged[0].content, "Be brief.\n\nHi");
}

TEST_F(TaskFiles, UnknownKeysAreErrorsInEveryPlace) {
  write("t.jsonl", R"({"id": "a", "messages": [{"role": "user", "content": "Hi"}], "refs": ["Ho"], "fact": []})");
  expect_error(ErrorCode::corrupt, {"t.jsonl", "line 1", "'fact'", "expected"});
  write("t.jsonl", R"({"id": "a", "messages": [{"role": "user", "content": "Hi", "name": "x"}], "refs": ["Ho"]})");
  expect_error(ErrorCode::corrupt, {"t.jsonl", "line 1", "messages[0]", "'name'"});
  write("t.jsonl", kItem);
  write("t.task.json", R"({"task": "t", "data": "t.jsonl", "metric": "exact", "metrics": {"primary": "exact"}})");
  expect_error(ErrorCode::corrupt, {"t.task.json", "'metric'"});
  write("t.task.json", R"({"task": "t", "data": "t.jsonl", "gen": {"top_k": 3}, "metrics": {"primary": "exact"}})");
  expect_error(ErrorCode::corrupt, {"t.task.json", "gen", "'top_k'"});
}

TEST_F(TaskFiles, BadValuesNameFileLineKeyFoundAndExpected) {
  const std::string good = std::string(kItem) + "\n";
  const auto item = [&](const std::string& text) { write("t.jsonl", good + text); };
  item(kItem);
  expect_error(ErrorCode::corrupt, {"t.jsonl", "line 2", "'id'", "'a'", "second time"});
  item(R"({"id": 7})");
  expect_error(ErrorCode::corrupt, {"line 2", "'id'", "number 7", "a string"});
  item(R"({"id": "b", "messages": [], "refs": ["x"]})");
  expect_error(ErrorCode::corrupt, {"line 2", "'messages'", "at least one"});
  item(R"({"id": "b", "messages": [{"role": "tool", "content": ""}], "refs": ["x"]})");
  expect_error(ErrorCode::corrupt, {"line 2", "'role'", "tool", "system, user or assistant"});
  item(
      R"({"id": "b", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}], "refs": ["x"]})");
  expect_error(ErrorCode::corrupt, {"line 2", "assistant", "expected user"});
  item(R"({"id": "b", "messages": [{"role": "user", "content": "x"}]})");
  expect_error(ErrorCode::corrupt, {"line 2", "'refs'", "missing"});
  item(R"({"id": "b", "messages": [{"role": "user", "content": "x"}], "refs": "x"})");
  expect_error(ErrorCode::corrupt, {"line 2", "'refs'", "string \"x\"", "an array"});
  item(R"({"id": "b", "messages": [{"role": "user", "content": "x"}], "refs": ["x"], "facts": [[]]})");
  expect_error(ErrorCode::corrupt, {"line 2", "'facts'", "alternative"});
  item("not json");
  expect_error(ErrorCode::corrupt, {"line 2", "not valid JSON"});
  item("[1]");
  expect_error(ErrorCode::corrupt, {"line 2", "expected an object"});
  item("{\"id\": \"\xFF\"}");
  expect_error(ErrorCode::corrupt, {"line 2", "UTF-8"});
  item(std::string(10'000'000, 'x'));
  expect_error(ErrorCode::resource_exhausted, {"line 2", "10000000 bytes", "1048576"});
  item(R"({"id": "b", "messages": [{"role": "user", "content": "x"}], "refs": [")" + std::string(70'000, 'r') + "\"]}");
  expect_error(ErrorCode::resource_exhausted, {"line 2", "'refs'", "70000 bytes"});
  item(std::string(100'000, '['));
  expect_error(ErrorCode::corrupt, {"line 2", "nested"});
}

TEST_F(TaskFiles, EmptyMissingAndDuplicateTasks) {
  write("t.jsonl", "");
  expect_error(ErrorCode::corrupt, {"t.jsonl", "no items"});
  write("t.jsonl", kItem);
  write("u.task.json", kTask);
  expect_error(ErrorCode::corrupt, {"u.task.json", "'t'", "second time"});
  std::filesystem::remove(folder_ / "u.task.json");
  std::filesystem::remove(folder_ / "t.jsonl");
  expect_error(ErrorCode::not_found, {"t.jsonl"});
  write("t.task.json", "");
  expect_error(ErrorCode::corrupt, {"t.task.json"});
  std::filesystem::remove(folder_ / "t.task.json");
  expect_error(ErrorCode::not_found, {"found no task"});
  std::filesystem::remove_all(folder_);
  expect_error(ErrorCode::not_found, {"cannot read"});
  try {
    read_tasks(std::string(300, 'a'));  // longer than a file name may be
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::io);
  }
}

TEST_F(TaskFiles, BadSettings) {
  const auto task = [&](const std::string& rest) {
    write("t.task.json", R"({"task": "t", "data": "t.jsonl", )" + rest + "}");
  };
  task(R"("metrics": {"primary": "blue"})");
  expect_error(ErrorCode::corrupt, {"'primary'", "'blue'", "chrf2"});
  task(R"("metrics": {"primary": "exact"}, "gen": {"max_tokens": 0})");
  expect_error(ErrorCode::corrupt, {"'max_tokens'", "from 1 to"});
  task(R"("metrics": {"primary": "exact"}, "gen": {"temperature": 0.7})");
  expect_error(ErrorCode::corrupt, {"'temperature'", "greedily"});
  task(R"("metrics": {"primary": "exact"}, "role": "assistant")");
  expect_error(ErrorCode::corrupt, {"'role'", "assistant"});
  task(R"("metrics": {"primary": "fact_recall"})");
  expect_error(ErrorCode::corrupt, {"t.jsonl", "line 1", "'facts'"});
  task(R"("metrics": {"primary": "degeneration"})");
  expect_error(ErrorCode::corrupt, {"'primary'", "degeneration", "more is better"});
  task(R"("metrics": {"primary": "exact", "also": ["items"]})");
  expect_error(ErrorCode::corrupt, {"t.jsonl", "'items' is in no item"});
  task(R"("metrics": {"primary": "exact", "also": ["format"]})");
  expect_error(ErrorCode::corrupt, {"t.task.json", "'format' is missing"});
  task(R"("metrics": {"primary": "exact"}, "comment": [3])");
  expect_error(ErrorCode::corrupt, {"t.task.json", "'comment'", "number 3"});
  task(R"("gen": {"max_tokens": 3})");
  expect_error(ErrorCode::corrupt, {"'metrics'", "missing"});
}

TEST_F(TaskFiles, FormatRules) {
  const auto format = [&](const std::string& rules) {
    write("t.task.json", R"({"task": "t", "data": "t.jsonl", "metrics": {"primary": "exact", "also": ["format"]}, )"
                         R"("format": )" +
                             rules + "}");
  };
  format(R"({"lines": 2, "max_chars": 72, "min_chars": 1, "max_line_chars": 40, "json": "object", "json_keys": ["k"],
             "forbid": ["x"], "not_end": ["."]})");
  FormatRules rules;
  rules.min_lines = rules.max_lines = 2;
  rules.min_chars = 1, rules.max_chars = 72, rules.max_line_chars = 40;
  rules.json = JsonForm::object;
  rules.json_keys = {"k"}, rules.forbid = {"x"}, rules.not_end = {"."};
  EXPECT_EQ(read_tasks(folder_.string())[0].format, rules);
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"3", "object"},
      {"{}", "at least one rule"},
      {R"({"line": 1})", "'line'"},
      {R"({"lines": 0})", "'lines'"},
      {R"({"lines": "many"})", "items"},
      {R"({"lines": 1, "max_lines": 2})", "'max_lines'"},
      {R"({"min_lines": 3, "max_lines": 2})", "least number"},
      {R"({"json": "yaml"})", "any, object or array"},
      {R"({"json": "array", "json_keys": ["k"]})", "'json_keys'"},
      {R"({"forbid": "x"})", "'forbid'"},
      {R"({"max_chars": -1})", "'max_chars'"}};
  for (const auto& [rule, part] : bad) {
    format(rule);
    expect_error(ErrorCode::corrupt, {"t.task.json: ", "format", part});
  }
  format(R"({"lines": "items"})");
  expect_error(ErrorCode::corrupt, {"t.jsonl: line 1", "'items'"});
}

TEST_F(TaskFiles, TheSumOfTheDataIsCompared) {
  const auto sum = [&](const std::string& value) {
    write("t.task.json",
          R"({"task": "t", "data": "t.jsonl", "metrics": {"primary": "exact"}, "sha256": ")" + value + "\"}");
  };
  sum(sha256(kItem));
  EXPECT_EQ(read_tasks(folder_.string())[0].sha256, sha256(kItem));
  write("t.jsonl", std::string(kItem) + "\n");
  expect_error(ErrorCode::corrupt, {"t.task.json", "'sha256'", "t.jsonl", sha256(kItem)});
  sum("abc");
  expect_error(ErrorCode::corrupt, {"t.task.json", "'sha256'", "64 digits"});
}

TEST(NanoTasks, TheThreeTasksReadAndHave120ItemsEach) {
  const std::vector<TaskSet> tasks = read_tasks(THIMBLE_SOURCE_DIR "/tasks/nano");
  ASSERT_EQ(tasks.size(), 3u);
  EXPECT_EQ(tasks[0].name, "commit");
  EXPECT_EQ(tasks[1].name, "meeting");
  EXPECT_EQ(tasks[2].name, "menu");
  for (const TaskSet& t : tasks) {
    EXPECT_EQ(t.items.size(), 120u);
    for (const TaskItem& item : t.items) EXPECT_FALSE(item.facts.empty());
  }
}

}  // namespace
}  // namespace thimble
