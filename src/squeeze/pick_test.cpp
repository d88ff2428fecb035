#include "squeeze/pick.h"

#include <gtest/gtest.h>

#include "squeeze/sample_result.h"

namespace thimble {
namespace {

using testing_squeeze::candidate;
using testing_squeeze::with_wrong;

struct Bench {
  SqueezeOptions options;
  Candidate baseline = candidate("float", 1000, with_wrong(400, 0));
  std::vector<Candidate> candidates;

  void add(const char* name, uint64_t bytes, size_t wrong) {
    candidates.push_back(candidate(name, bytes, with_wrong(400, wrong)));
  }
  Choice choose() {
    compare_with_float(baseline, baseline, options.margin, options.confidence);
    for (Candidate& c : candidates) {
      if (c.excluded.empty()) compare_with_float(c, baseline, options.margin, options.confidence);
    }
    return pick(baseline, candidates, options);
  }
};

TEST(Pick, TakesTheSmallestThatKeepsTheMargin) {
  Bench b;
  b.add("big", 800, 0);
  b.add("small", 300, 0);
  b.add("broken", 200, 100);
  const Choice c = b.choose();
  EXPECT_EQ(c.verdict, Verdict::picked);
  EXPECT_EQ(c.picked, 1);
  EXPECT_EQ(b.candidates[1].standing, Standing::keeps);
  EXPECT_EQ(b.candidates[2].standing, Standing::loses);
  EXPECT_DOUBLE_EQ(b.candidates[2].score.mean, 75.0);
  EXPECT_DOUBLE_EQ(b.candidates[2].against_float.mean, -25.0);
  EXPECT_NE(c.explanation.find("rule of three"), std::string::npos) << "a saturated task must not look certain";
}

TEST(Pick, CannotTellTakesTheSmallerAndSaysSo) {
  Bench b;
  b.add("big", 800, 2);    // 0.5 points lost: the interval reaches over 1 point
  b.add("small", 300, 3);  // 0.75 points
  const Choice c = b.choose();
  EXPECT_EQ(b.candidates[1].standing, Standing::unclear);
  EXPECT_EQ(c.verdict, Verdict::cannot_tell);
  EXPECT_EQ(c.picked, 1);
  EXPECT_NE(c.explanation.find("cannot tell"), std::string::npos);
  EXPECT_NE(c.explanation.find("smaller"), std::string::npos);
}

TEST(Pick, AnUnclearCandidateThatALargerOneBeatsIsNotTaken) {
  Bench b;
  b.options.margin = 2.0;
  b.add("large", 800, 0);
  b.add("middling", 300, 8);  // 2 points lost: unclear against a margin of 2, but clearly worse than "large"
  const Choice c = b.choose();
  EXPECT_EQ(b.candidates[1].standing, Standing::unclear);
  EXPECT_EQ(c.verdict, Verdict::picked);
  EXPECT_EQ(c.picked, 0);
}

TEST(Pick, AWiderMarginLetsASmallerOneThrough) {
  Bench b;
  b.add("large", 800, 0);
  b.add("small", 300, 20);  // 5 points
  EXPECT_EQ(b.choose().picked, 0);
  b.options.margin = 10;
  EXPECT_EQ(b.choose().picked, 1);
}

TEST(Pick, EveryTaskMustKeepTheMargin) {
  Bench b;
  b.baseline.tasks.push_back(b.baseline.tasks[0]);
  b.baseline.tasks[1].task = "u";
  b.add("large", 800, 0);
  b.add("one-sided", 300, 0);
  for (Candidate& c : b.candidates) {
    c.tasks.push_back(c.tasks[0]);
    c.tasks[1].task = "u";
  }
  for (size_t i = 0; i < 60; ++i) b.candidates[1].tasks[1].items[i].scores[Metric::exact] = 0;
  EXPECT_EQ(b.choose().picked, 0);
  EXPECT_EQ(b.candidates[1].standing, Standing::loses);
  EXPECT_DOUBLE_EQ(b.candidates[1].task_differences[0].mean, 0.0);
  EXPECT_DOUBLE_EQ(b.candidates[1].task_differences[1].mean, -15.0);
}

TEST(Pick, NothingFitsSaysWhetherTheDeviceOrTheTasksRefused) {
  Bench device;
  device.add("a", 800, 0);
  device.candidates[0].excluded = "too big";
  const Choice d = device.choose();
  EXPECT_EQ(d.verdict, Verdict::nothing_fits);
  EXPECT_EQ(d.picked, -1);
  EXPECT_NE(d.explanation.find("None of the 1 candidates fits the device"), std::string::npos);

  Bench tasks;
  tasks.add("bad", 800, 100);
  tasks.add("worse", 300, 200);
  const Choice t = tasks.choose();
  EXPECT_EQ(t.verdict, Verdict::nothing_fits);
  EXPECT_NE(t.explanation.find("bad"), std::string::npos) << t.explanation;
  EXPECT_NE(t.explanation.find("each loses more than the margin"), std::string::npos) << t.explanation;
}

TEST(Pick, ExcludedCandidatesAreNeverTaken) {
  Bench b;
  b.add("small", 300, 0);
  b.add("big", 800, 0);
  b.candidates[0].excluded = "too slow";
  EXPECT_EQ(b.choose().picked, 1);
}

}  // namespace
}  // namespace thimble
