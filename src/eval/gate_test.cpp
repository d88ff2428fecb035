#include "eval/gate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

// `n` items that are clusters of their own; the first `wrong` score 0, the others 1.
ScoredModel model(const std::string& name, size_t n, size_t wrong) {
  ScoredModel out{name, {}};
  ScoredTask& task = out.tasks.emplace_back();
  task.name = "menu";
  for (size_t i = 0; i < n; ++i) {
    task.ids.push_back("item-" + std::to_string(i));
    task.clusters.push_back(task.ids.back());
    task.scores[Metric::exact].push_back(i < wrong ? 0 : 1);
    task.answers.push_back(i < wrong ? "wrong" : "right");
  }
  return out;
}

GateRules rules(double margin) {
  GateRules out;
  out.source = "rules.toml";
  out.rules = {{"", std::nullopt, margin}};
  return out;
}

TEST(Gate, PassesFailsAndSaysWhenItCannotTell) {
  const ScoredModel before = model("before", 600, 0);
  EXPECT_EQ(run_gate(rules(1), model("same", 600, 0), before).outcome, GateOutcome::pass);
  EXPECT_EQ(run_gate(rules(1), model("broken", 600, 60), before).outcome, GateOutcome::fail);
  const GateReport unclear = run_gate(rules(1), model("unclear", 600, 6), before);
  EXPECT_EQ(unclear.outcome, GateOutcome::cannot_tell);
  EXPECT_DOUBLE_EQ(unclear.checks.at(0).difference, -1.0);
  EXPECT_EQ(run_gate(rules(15), model("allowed", 600, 60), before).outcome, GateOutcome::pass);
  EXPECT_EQ(run_gate(rules(1), model("few", 50, 0), model("before", 50, 0)).outcome, GateOutcome::cannot_tell);
}

TEST(Gate, AnImprovementPasses) {
  EXPECT_EQ(run_gate(rules(1), model("now", 300, 0), model("before", 300, 40)).outcome, GateOutcome::pass);
}

TEST(Gate, ItemsArePairedByIdWhateverTheirOrder) {
  const ScoredModel now = model("now", 600, 60);
  ScoredModel before = now;
  ScoredTask& task = before.tasks[0];
  std::reverse(task.ids.begin(), task.ids.end());
  std::reverse(task.clusters.begin(), task.clusters.end());
  std::reverse(task.scores[Metric::exact].begin(), task.scores[Metric::exact].end());
  EXPECT_DOUBLE_EQ(run_gate(rules(1), now, before).checks.at(0).difference, 0.0);
  EXPECT_EQ(run_gate(rules(1), now, before).outcome, GateOutcome::pass);
}

TEST(Gate, ItemsTasksAndMetricsMustMatch) {
  const ScoredModel before = model("before", 20, 0);
  EXPECT_THROW(run_gate(rules(1), model("now", 19, 0), before), Error);
  ScoredModel other = before;
  other.tasks[0].ids[3] = "another";
  EXPECT_THROW(run_gate(rules(1), other, before), Error);
  GateRules named = rules(1);
  named.rules[0].task = "none";
  EXPECT_THROW(run_gate(named, before, before), Error);
  named.rules[0].task = "menu";
  named.rules[0].metric = Metric::chrf2;
  EXPECT_THROW(run_gate(named, before, before), Error);
}

class GateFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("thimble-gate-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  static std::string error_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  fs::path folder_;
};

TEST_F(GateFiles, RulesAreReadAndMistakesNamed) {
  const GateRules r = read_gate_rules(
      write("rules.toml",
            "baseline = \"last/results.json\"\nmargin = 2\ncannot_tell = \"fail\"\n"
            "[[rule]]\ntask = \"menu\"\nmetric = \"chrf2\"\nmargin = 0.5\n[[rule]]\ntask = \"commit\"\n"));
  EXPECT_EQ(r.baseline, (folder_ / "last/results.json").string());
  EXPECT_TRUE(r.cannot_tell_fails);
  ASSERT_EQ(r.rules.size(), 2u);
  EXPECT_EQ(r.rules[0].metric, Metric::chrf2);
  EXPECT_DOUBLE_EQ(r.rules[0].margin, 0.5);
  EXPECT_DOUBLE_EQ(r.rules[1].margin, 2.0);
  EXPECT_EQ(read_gate_rules(write("plain.toml", "baseline = \"b\"\n")).rules.size(), 1u);
  for (const auto& [text, named] : std::vector<std::pair<std::string, std::string>>{
           {"margin = 1\n", "baseline"},
           {"baseline = \"b\"\nmargin = -1\n", "margin"},
           {"baseline = \"b\"\nconfidence = 1.0\n", "confidence"},
           {"baseline = \"b\"\ncannot_tell = \"maybe\"\n", "cannot_tell"},
           {"baseline = \"b\"\n[[rule]]\nmetric = \"none\"\n", "metric"},
           {"baseline = \"b\"\n[[rule]]\nmetric = \"length_ratio\"\n", "metric"},
           {"baseline = \"b\"\nmargins = 1\n", "margins"}}) {
    const std::string path = write("bad.toml", text);
    const std::string error = error_of([&] { (void)read_gate_rules(path); });
    EXPECT_NE(error.find(named), std::string::npos) << error;
    EXPECT_NE(error.find("bad.toml"), std::string::npos) << error;
  }
}

TEST_F(GateFiles, ResultsAndReportsAreRead) {
  const std::string results = write(
      "results.json",
      R"({"format": "thimble-eval-results/1", "models": [{"name": "a.gguf", "tasks": [{"task": "menu", "primary": "exact",
          "data": "h", "items": [{"id": "1", "cluster": "c", "answer": "x", "scores": {"exact": 1, "newer": 3}},
          {"id": "2", "cluster": "c", "answer": "y", "scores": {"exact": 0}}]}]}]})");
  const ScoredModel r = read_scored_model(results);
  EXPECT_EQ(r.name, "a.gguf");
  EXPECT_EQ(r.tasks.at(0).ids, (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(points_of(r.tasks[0], Metric::exact), (std::vector<double>{100, 0}));
  const std::string report =
      write("report.json",
            R"({"picked": 0, "tasks": [{"task": "menu", "primary": "exact", "data_hash": "h", "ids": ["1", "2"],
          "clusters": ["c", "d"]}], "baseline": {"name": "float", "tasks": [{"scores": {"exact": [1, 1]}}]},
          "candidates": [{"name": "q4_0", "tasks": [{"scores": {"exact": [1, 0]}, "answers": ["x", "y"]}]},
                         {"name": "f16", "tasks": []}]})");
  EXPECT_EQ(points_of(read_scored_model(report).tasks.at(0), Metric::exact), (std::vector<double>{100, 0}));
  EXPECT_EQ(points_of(read_scored_model(report, "float").tasks.at(0), Metric::exact), (std::vector<double>{100, 100}));
  EXPECT_NE(error_of([&] { (void)read_scored_model(report, "q9"); }).find("q9"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)read_scored_model(report, "f16"); }).find("not scored"), std::string::npos);
}

TEST_F(GateFiles, DamagedFilesAreRefusedByName) {
  for (const char* text :
       {"", "[]", "{}", R"({"models": []})", R"({"models": [3]})", R"({"models": [{"name": "a", "tasks": [{}]}]})",
        R"({"candidates": [], "picked": 0, "tasks": []})", R"({"candidates": [{}], "picked": 0, "tasks": []})",
        R"({"candidates": 3, "picked": 0, "tasks": []})",
        R"({"candidates": [{"name": "q"}], "picked": 7, "tasks": []})",
        R"({"picked": 0, "tasks": [{"task": "t", "primary": "exact", "ids": ["1"], "clusters": []}],
            "candidates": [{"name": "q", "tasks": [{"scores": {"exact": [1]}}]}]})",
        R"({"picked": 0, "tasks": [{"task": "t", "primary": "exact", "ids": ["1"], "clusters": ["1"]}],
            "candidates": [{"name": "q", "tasks": [{"scores": {"exact": [1, 2]}}]}]})",
        R"({"picked": 0, "tasks": [{"task": "t", "primary": "exact", "ids": ["1"], "clusters": ["1"]}],
            "candidates": [{"name": "q", "tasks": [{"scores": {"exact": ["x"]}}]}]})"}) {
    const std::string path = write("damaged.json", text);
    EXPECT_NE(error_of([&] { (void)read_scored_model(path); }).find("damaged.json"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace thimble
