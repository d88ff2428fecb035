#include "eval/model_diff.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace thimble {
namespace {

ScoredModel model(const std::string& name, const std::vector<double>& scores) {
  ScoredModel out{name, {}};
  ScoredTask& task = out.tasks.emplace_back();
  task.name = "t";
  for (size_t i = 0; i < scores.size(); ++i) {
    task.ids.push_back(std::to_string(i));
    task.clusters.push_back(std::to_string(i));
    task.answers.push_back(name + " " + std::to_string(i));
  }
  task.scores[Metric::exact] = scores;
  return out;
}

TEST(ModelDiff, CountsChangesAndShowsTheLargest) {
  const ModelDiff d = diff_models(model("old", {1, 1, 1, 0, 0.5}), model("new", {0, 1, 0, 1, 0.75}), 0.95, 3);
  ASSERT_EQ(d.tasks.size(), 1u);
  const TaskDiff& t = d.tasks[0];
  EXPECT_DOUBLE_EQ(t.before, 70);
  EXPECT_DOUBLE_EQ(t.after, 55);
  EXPECT_DOUBLE_EQ(t.difference.mean, -15);
  EXPECT_EQ(t.worse, 2u);
  EXPECT_EQ(t.better, 2u);
  EXPECT_EQ(t.flips.lost, 2);
  EXPECT_EQ(t.flips.gained, 1);
  ASSERT_EQ(t.changes.size(), 3u);
  EXPECT_EQ(t.changes[0].id, "0");
  EXPECT_EQ(t.changes[1].id, "2") << "losses before gains";
  EXPECT_EQ(t.changes[2].id, "3");
  EXPECT_EQ(t.changes[0].answer_before, "old 0");
  const Json json = model_diff_json(d);
  EXPECT_EQ(json.at("tasks")[0].at("changes").size(), 3u);
}

TEST(ModelDiff, TasksOfOneSideAreNamedAndNoneInCommonIsAnError) {
  ScoredModel a = model("a", {1, 0});
  ScoredModel b = a;
  b.tasks.push_back(b.tasks[0]);
  b.tasks[1].name = "u";
  EXPECT_EQ(diff_models(a, b, 0.95, 5).only_after, (std::vector<std::string>{"u"}));
  b.tasks.erase(b.tasks.begin());
  EXPECT_THROW(diff_models(a, b, 0.95, 5), Error);
}

}  // namespace
}  // namespace thimble
