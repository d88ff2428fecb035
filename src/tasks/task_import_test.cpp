// CSV and evals files as items: the values that RFC 4180's rules give, and errors with line and column.
#include "tasks/task_import.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "tasks/csv.h"
#include "tasks/task_check.h"
#include "tasks/task_data.h"
#include "tasks/task_example.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

template <typename F>
void expect_error(F&& run, const Strings& parts, ErrorCode code = ErrorCode::corrupt) {
  try {
    run();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << part << " is not in: " << e.what();
    }
  }
}

TEST(Csv, FieldsQuotesAndLineEnds) {
  const auto rows = parse_csv(
      "\xEF\xBB\xBF"
      "a,b\r\n\"x, \"\"y\"\"\",\"two\nlines\"\n\n,\"\"\nlast,row",
      ',', "f");
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].fields, (Strings{"a", "b"}));
  EXPECT_EQ(rows[1].fields, (Strings{"x, \"y\"", "two\nlines"}));
  EXPECT_EQ(rows[2].fields, (Strings{"", ""}));
  EXPECT_EQ(rows[3].fields, (Strings{"last", "row"}));
  EXPECT_EQ(rows[1].line, 2);
  EXPECT_EQ(rows[3].line, 6);
  EXPECT_EQ(parse_csv("a;b,c", ';', "f")[0].fields, (Strings{"a", "b,c"}));
  EXPECT_TRUE(parse_csv("", ',', "f").empty());
  EXPECT_TRUE(parse_csv("\r\n\n", ',', "f").empty());
}

TEST(Csv, ErrorsNameTheLine) {
  const auto parse = [](const std::string& text) { return [text] { (void)parse_csv(text, ',', "f.csv"); }; };
  expect_error(parse("a,b\n1,2,3"), {"f.csv: line 2", "3 fields", "expected 2"});
  expect_error(parse("a,b\n\n1"), {"f.csv: line 3", "1 fields"});
  expect_error(parse("a,b\n\"1\nx,2\n"), {"f.csv: line 2", "never closed"});
  expect_error(parse("a,b\n\"1\"x,2\n"), {"f.csv: line 2", "after a closing quote"});
  expect_error(parse("a,b\n1\"x,2\n"), {"f.csv: line 2", "quote inside a field"});
  expect_error(parse("a,b\n1,caf\xE9\n"), {"f.csv: line 2", "UTF-8"});
  expect_error(parse("a,b\n1," + std::string(10'000'000, 'x')), {"f.csv: line 2", "10000000 bytes"},
               ErrorCode::resource_exhausted);
}

TEST(CsvItems, ColumnsByName) {
  const auto items = parse_csv_items(
      "ID,Prompt,reference,Reference_2,group,system,facts,price\n"
      "q1,\"Hi,\nyou\",Ho,Hey,g,Be brief.,two|2; July ,5\n"
      ",What?,So,,,,,\n",
      "f.csv", "shop");
  ASSERT_EQ(items.size(), 2u);
  const TaskItem& a = items[0].item;
  EXPECT_EQ(a.id, "q1");
  EXPECT_EQ(a.cluster, "g");
  ASSERT_EQ(a.messages.size(), 2u);
  EXPECT_EQ(a.messages[0].role, "system");
  EXPECT_EQ(a.messages[1].content, "Hi,\nyou");
  EXPECT_EQ(a.refs, (Strings{"Ho", "Hey"}));
  EXPECT_EQ(a.facts, (std::vector<Strings>{{"two", "2"}, {"July"}}));
  EXPECT_EQ(items[0].meta, Json({{"price", "5"}}));
  EXPECT_EQ(items[1].item.id, "shop-0002");
  EXPECT_EQ(items[1].item.cluster, "shop-0002");
  EXPECT_EQ(items[1].item.refs, (Strings{"So"}));
  EXPECT_EQ(items[1].item.line, 4);
}

TEST(CsvItems, TheDelimiterIsTheOneThatNamesAPrompt) {
  EXPECT_EQ(parse_csv_items("\"question\";answer\nWhy, oh why?;No", "f", "n")[0].item.refs, (Strings{"No"}));
  EXPECT_EQ(parse_csv_items("\xEF\xBB\xBFinput\tideal\na, b;c\td", "f", "n")[0].item.refs, (Strings{"d"}));
}

TEST(CsvItems, Errors) {
  const auto parse = [](const std::string& text) { return [text] { (void)parse_csv_items(text, "f.csv", "n"); }; };
  expect_error(parse(""), {"f.csv", "no lines"});
  expect_error(parse("prompt,reference\n"), {"f.csv", "no rows"});
  expect_error(parse("promt,reference\na,b"), {"f.csv: line 1", "key 'prompt'"});
  expect_error(parse("prompt,input,reference\na,b,c"), {"f.csv: line 1", "'input'"});
  expect_error(parse("prompt,reference\n \t,b"), {"f.csv: line 2", "key 'prompt'", "nothing"});
}

TEST(EvalsItems, InputAndIdeal) {
  const auto items = parse_evals_items(
      R"({"input": "Hi", "ideal": "Ho"})"
      "\n\n"
      R"({"input": [{"role": "developer", "content": "S"},)"
      R"({"role": "system", "name": "example_user", "content": "U"},)"
      R"({"role": "system", "name": "example_assistant", "content": "A"},)"
      R"({"role": "user", "content": "Q"}], "ideal": ["x", "y"], "id": "k", "cluster": "c", "extra": [1]})"
      "\n",
      "f.jsonl", "n");
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].item.id, "n-0001");
  EXPECT_EQ(items[0].item.messages[0].content, "Hi");
  EXPECT_EQ(items[0].item.refs, (Strings{"Ho"}));
  Strings roles;
  for (const ChatMessage& m : items[1].item.messages) roles.push_back(m.role);
  EXPECT_EQ(roles, (Strings{"system", "user", "assistant", "user"}));
  EXPECT_EQ(items[1].item.refs, (Strings{"x", "y"}));
  EXPECT_EQ(items[1].item.cluster, "c");
  EXPECT_EQ(items[1].item.line, 3);
  EXPECT_EQ(items[1].meta, Json({{"extra", {1}}}));
}

TEST(EvalsItems, ErrorsNameLineAndKey) {
  const auto parse = [](const std::string& line) { return [line] { (void)parse_evals_items("\n" + line, "f", "n"); }; };
  expect_error(parse(R"({"ideal": "x"})"), {"f: line 2", "'input' is missing"});
  expect_error(parse(R"({"input": 3})"), {"f: line 2", "key 'input'", "number 3"});
  expect_error(parse(R"({"input": "q", "ideal": 3})"), {"f: line 2", "key 'ideal'", "number 3"});
  expect_error(parse(R"({"input": "q", "ideal": [""]})"), {"f: line 2", "key 'ideal'", "not empty"});
  expect_error(parse(R"({"input": [{"role": "assistant", "content": "q"}]})"), {"f: line 2", "key 'input'", "user"});
  expect_error(parse(R"({"input": [{"role": "user"}]})"), {"f: line 2", "input[0]", "'content'"});
  expect_error(parse(R"({"input": "q", "ideal": "x)"), {"f: line 2", "key 'ideal'", "JSON"});
  expect_error(parse("{\"input\": \"\xFF\"}"), {"f: line 2", "key 'input'", "UTF-8"});
  expect_error(parse(R"({"input": [{"role": "tool", "content": "q"}]})"), {"input[0]", "'tool'"},
               ErrorCode::unsupported);
  expect_error(parse(""), {"f", "no items"});
}

class Import : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("thimble-import-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = (folder_ / name).string();
    write_file_atomically(path, text);
    return path;
  }
  size_t n_files() const {
    return static_cast<size_t>(
        std::distance(fs::recursive_directory_iterator(folder_), fs::recursive_directory_iterator()));
  }
  std::string tasks() const { return (folder_ / "tasks").string(); }

  fs::path folder_;
};

std::string csv_of(int n) {
  std::string out = "prompt,reference,cluster\n";
  for (int i = 0; i < n; ++i) {
    const std::string k = std::to_string(i);
    out += "What is " + k + " times " + k + "?," + std::to_string(i * i) + ",c" + std::to_string(i / 2) + "\n";
  }
  return out;
}

TEST_F(Import, WritesATaskThatTheReaderAndTheCheckTake) {
  ImportSettings settings;
  settings.name = "squares";
  settings.license = "CC0-1.0";
  settings.system = "Compute.";
  const ImportedTask r = import_task(write("s.csv", csv_of(60)), tasks(), settings);
  EXPECT_EQ(r.n_items, 60u);
  EXPECT_EQ(r.n_clusters, 30u);
  EXPECT_TRUE(r.notes.empty());
  const std::vector<TaskSet> read = read_tasks(tasks());
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].name, "squares");
  EXPECT_EQ(read[0].system, "Compute.");
  EXPECT_EQ(read[0].sha256.size(), 64u);
  EXPECT_EQ(read[0].primary, Metric::chrf2);
  EXPECT_EQ(read[0].items[7].refs, (Strings{"49"}));
  EXPECT_EQ(check_tasks(tasks(), nullptr).n_problems(), 0u);
}

TEST_F(Import, CalibrationTakesWholeClustersAndNoEvaluatedPrompt) {
  ImportSettings settings;
  settings.name = "squares";
  settings.calibration = 0.4;
  settings.metrics = {Metric::exact, Metric::bleu};
  // The same prompt once more in a cluster of its own: it may not be evaluated and learned from.
  const std::string path = write("s.csv", csv_of(60) + "What is 1 times 1?,1,other\nWhat is 59 times 59?,3481,more\n");
  const ImportedTask r = import_task(path, tasks(), settings);
  EXPECT_GT(r.n_calibration, 10u);
  EXPECT_GT(r.n_items, 20u);
  EXPECT_LE(r.n_items + r.n_calibration, 62u);
  std::set<std::string> evaluated;
  for (const TaskItem& i : read_task(r.task_path).items) evaluated.insert(i.cluster);
  for (const TaskItem& i : read_calibration_items(r.calibration_path)) {
    EXPECT_FALSE(evaluated.contains(i.cluster)) << i.cluster;
    EXPECT_EQ(i.messages.back().role, "assistant");
    EXPECT_EQ(i.messages.back().content, i.refs[0]);
  }
  for (const Finding& f : check_tasks(tasks(), nullptr).findings) EXPECT_FALSE(f.is_problem) << f.text;
}

TEST_F(Import, ErrorsLeaveNothingBehind) {
  ImportSettings settings;
  settings.name = "t";
  const auto import = [&](const std::string& file) {
    return [this, file, settings] { (void)import_task(file, tasks(), settings); };
  };
  expect_error(import(write("a.csv", "prompt,reference\na,b\nc,\n")), {"a.csv: line 3", "key 'refs'"});
  expect_error(import(write("a.csv", "id,prompt,reference\n1,a,b\n1,c,d\n")), {"a.csv: line 3", "key 'id'", "second"});
  expect_error(import(write("a.txt", "")), {"a.txt", ".csv"}, ErrorCode::invalid_argument);
  expect_error(import((folder_ / "none.csv").string()), {"none.csv"}, ErrorCode::not_found);
  settings.metrics = {Metric::fact_recall};
  expect_error(import(write("a.csv", "prompt,reference\na,b\n")), {"a.csv: line 2", "key 'facts'"});
  settings.metrics = {Metric::degeneration};
  expect_error(import(write("a.csv", csv_of(3))), {"degeneration"}, ErrorCode::invalid_argument);
  settings.metrics = {Metric::exact, Metric::format};
  expect_error(import(write("a.csv", csv_of(3))), {"format"}, ErrorCode::invalid_argument);
  settings.metrics = {};
  settings.calibration = 0.001;
  expect_error(import(write("a.csv", csv_of(4))), {"--calibration"}, ErrorCode::invalid_argument);
  settings.calibration = 0;
  for (const char* name : {"", "../t", ".t", "a/b", "a b"}) {
    settings.name = name;
    expect_error(import(write("a.csv", csv_of(3))), {"--name"}, ErrorCode::invalid_argument);
  }
  EXPECT_FALSE(fs::exists(tasks()));
}

TEST_F(Import, FilesAreReplacedOnlyWhenAsked) {
  ImportSettings settings;
  settings.name = "t";
  (void)import_task(write("a.csv", csv_of(3)), tasks(), settings);
  const std::string other = write("a.csv", csv_of(5));
  expect_error([&] { (void)import_task(other, tasks(), settings); }, {"t.task.json", "--force"},
               ErrorCode::invalid_argument);
  EXPECT_EQ(read_tasks(tasks())[0].items.size(), 3u);
  settings.replace = true;
  (void)import_task(other, tasks(), settings);
  EXPECT_EQ(read_tasks(tasks())[0].items.size(), 5u);
}

TEST_F(Import, TheExamplePassesTheCheck) {
  const ExampleTask example = write_example_task(tasks(), "mine");
  EXPECT_TRUE(fs::exists(example.data_path));
  const FolderCheck check = check_tasks(tasks(), nullptr);
  EXPECT_EQ(check.n_problems(), 0u);
  EXPECT_EQ(check.tasks[0].n_items, 3u);
  expect_error([&] { (void)write_example_task(tasks(), "mine"); }, {"mine.task.json"}, ErrorCode::invalid_argument);
  expect_error([&] { (void)write_example_task(tasks(), "no/name"); }, {"--name"}, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace thimble
