#include "squeeze/pick.h"

#include <gtest/gtest.h>

#include <cmath>

#include "squeeze/headline.h"
#include "squeeze/sample_result.h"

namespace thimble {
namespace {

using testing_squeeze::candidate;
using testing_squeeze::with_wrong;

// 1,000 items without a difference are enough for a margin of 1 point: 0.99^1000 = 4e-5.
constexpr size_t kItems = 1000;

struct Bench {
  SqueezeResult result;

  explicit Bench(size_t items = kItems) : n(items) { result.baseline = candidate("float", 1000, with_wrong(n, 0)); }
  void add(const char* name, uint64_t bytes, size_t wrong) {
    result.candidates.push_back(candidate(name, bytes, with_wrong(n, wrong)));
  }
  Choice choose() {
    conclude(result);
    return {result.verdict, result.picked, result.explanation};
  }
  Candidate& at(size_t i) { return result.candidates[i]; }
  size_t n;
};

TEST(Pick, TakesTheSmallestThatKeepsTheMargin) {
  Bench b;
  b.add("big", 800, 0);
  b.add("small", 300, 0);
  b.add("broken", 200, 250);
  const Choice c = b.choose();
  EXPECT_EQ(c.verdict, Verdict::picked);
  EXPECT_EQ(c.picked, 1);
  EXPECT_EQ(b.at(1).standing, Standing::keeps);
  EXPECT_EQ(b.at(2).standing, Standing::loses);
  EXPECT_DOUBLE_EQ(b.at(2).score.mean, 75.0);
  EXPECT_DOUBLE_EQ(b.at(2).against_float.mean, -25.0);
  EXPECT_EQ(b.at(2).comparisons.at(0).flips.lost, 250);
  EXPECT_LT(b.at(2).comparisons.at(0).p_different, 0.001);
}

TEST(Pick, OfFilesOfOneSizeTheFastest) {
  Bench b;
  b.add("slow", 100'000, 0);
  b.add("fast", 100'100, 0);
  b.add("larger and faster", 150'000, 0);
  b.at(1).plan.decode_tokens_per_s = 2 * b.at(0).plan.decode_tokens_per_s;
  b.at(2).plan.decode_tokens_per_s = 9 * b.at(0).plan.decode_tokens_per_s;
  EXPECT_EQ(b.choose().picked, 1);
}

TEST(Pick, TooFewItemsCannotTellHoweverGoodTheyLook) {
  Bench b(100);
  b.add("small", 300, 0);
  const Choice c = b.choose();
  EXPECT_EQ(b.at(0).standing, Standing::unclear);
  EXPECT_EQ(c.verdict, Verdict::cannot_tell);
  EXPECT_EQ(c.picked, 0);
  // 0.99^n <= 0.025 from n = 368.
  EXPECT_NE(c.explanation.find("about 268 more (100 now)"), std::string::npos) << c.explanation;
}

TEST(Pick, HolmAsksForMoreWhenMoreCandidatesAreTried) {
  Bench one(400);
  one.add("a", 300, 0);  // p = 0.99^400 = 0.018
  EXPECT_EQ(one.choose().verdict, Verdict::picked);
  Bench five(400);
  for (const char* name : {"a", "b", "c", "d", "e"}) five.add(name, 300, 0);
  EXPECT_EQ(five.choose().verdict, Verdict::cannot_tell);
  EXPECT_NEAR(five.at(0).p_keeps, 5 * std::pow(0.99, 400), 1e-12);
}

TEST(Pick, AKeeperIsPickedAndUndecidedSmallerOnesAreNamed) {
  Bench b;
  b.add("big", 800, 0);
  b.add("small", 300, 8);  // 0.8 points lost: too close to the margin of 1
  const Choice c = b.choose();
  EXPECT_EQ(b.at(1).standing, Standing::unclear);
  EXPECT_EQ(c.verdict, Verdict::picked);
  EXPECT_EQ(c.picked, 0);
  EXPECT_NE(c.explanation.find("the items cannot tell: small"), std::string::npos) << c.explanation;
  EXPECT_NE(c.explanation.find("more (1000 now)"), std::string::npos) << c.explanation;
}

TEST(Pick, CannotTellTakesTheSmallestThatLooksGoodAndSaysSo) {
  Bench b(400);
  b.add("big", 800, 2);
  b.add("small", 300, 3);       // 0.75 points
  b.add("suspicious", 200, 7);  // 1.75 points: not shown to lose, but its measured loss is over the margin
  const Choice c = b.choose();
  EXPECT_EQ(b.at(2).standing, Standing::unclear);
  EXPECT_EQ(c.verdict, Verdict::cannot_tell);
  EXPECT_EQ(c.picked, 1);
  EXPECT_NE(c.explanation.find("cannot tell"), std::string::npos);
}

TEST(Pick, AnUnclearCandidateThatALargerOneBeatsIsNotTaken) {
  Bench b(400);
  b.result.options.margin = 3.0;
  b.add("large", 800, 5);
  b.add("middling", 300, 11);  // 2.75 points: undecided against 3, but clearly worse than "large"
  const Choice c = b.choose();
  EXPECT_EQ(b.at(1).standing, Standing::unclear);
  EXPECT_EQ(c.picked, 0) << c.explanation;
}

TEST(Pick, AWiderMarginLetsASmallerOneThrough) {
  Bench b;
  b.add("large", 800, 0);
  b.add("small", 300, 50);  // 5 points
  EXPECT_EQ(b.choose().picked, 0);
  b.result.options.margin = 10;
  EXPECT_EQ(b.choose().picked, 1);
}

TEST(Pick, EveryTaskMustKeepTheMargin) {
  Bench b;
  b.result.baseline.tasks.push_back(b.result.baseline.tasks[0]);
  const std::string second = "u";
  b.result.baseline.tasks[1].task = second;
  b.add("large", 800, 0);
  b.add("one-sided", 300, 0);
  for (Candidate& c : b.result.candidates) {
    c.tasks.push_back(c.tasks[0]);
    c.tasks[1].task = second;
  }
  for (size_t i = 0; i < 150; ++i) b.at(1).tasks[1].items[i].scores[Metric::exact] = 0;
  EXPECT_EQ(b.choose().picked, 0);
  EXPECT_EQ(b.at(1).standing, Standing::loses);
  EXPECT_DOUBLE_EQ(b.at(1).task_differences[0].mean, 0.0);
  EXPECT_DOUBLE_EQ(b.at(1).task_differences[1].mean, -15.0);
}

TEST(Pick, NothingFitsSaysWhetherTheDeviceOrTheTasksRefused) {
  Bench device;
  device.add("a", 800, 0);
  device.at(0).excluded = "too big";
  const Choice d = device.choose();
  EXPECT_EQ(d.verdict, Verdict::nothing_fits);
  EXPECT_EQ(d.picked, -1);
  EXPECT_NE(d.explanation.find("None of the 1 candidates fits the device"), std::string::npos);

  Bench tasks;
  tasks.add("bad", 800, 250);
  tasks.add("worse", 300, 500);
  const Choice t = tasks.choose();
  EXPECT_EQ(t.verdict, Verdict::nothing_fits);
  EXPECT_NE(t.explanation.find("bad"), std::string::npos) << t.explanation;
  EXPECT_NE(t.explanation.find("each loses more than the margin"), std::string::npos) << t.explanation;
}

TEST(Pick, ExcludedCandidatesAreNeverTaken) {
  Bench b;
  b.add("small", 300, 0);
  b.add("big", 800, 0);
  b.at(0).excluded = "too slow";
  EXPECT_EQ(b.choose().picked, 1);
}

TEST(OrderAgreement, TakesTheDivergenceOnAnswersOfTheTaskItself) {
  Bench b;
  for (const size_t wrong : {0, 100}) b.add("c", 300, wrong);
  b.choose();
  EXPECT_TRUE(b.result.order_agreement.empty()) << "nothing was measured";
  for (Candidate* c : {&b.result.baseline, &b.at(0), &b.at(1)}) {
    c->tasks.push_back(c->tasks[0]);
    c->tasks[1].task = "u";
  }
  b.result.tasks.resize(2);
  // 900 tokens of the first task say the right order, 100 of the second the wrong one.
  const double kl[2][2] = {{0.1, 0.5}, {0.2, 0.4}};  // [candidate][task]
  for (size_t i = 0; i < 2; ++i) {
    for (size_t t = 0; t < 2; ++t) {
      TaskFidelity f;
      f.n_tokens = t == 0 ? 900 : 100;
      f.divergence.mean_kl = kl[i][t];
      b.at(i).on_answers.push_back(f);
    }
  }
  const std::vector<OrderAgreement> orders = order_agreement(b.result.candidates, 0.95);
  ASSERT_EQ(orders.size(), 3u);
  for (const OrderAgreement& o : orders) {
    EXPECT_EQ(o.measure, "answers_kl");
    EXPECT_EQ(o.agreement.all.pairs, 1);
    EXPECT_EQ(o.agreement.all.disagree, o.task == "u" ? 1 : 0) << o.task;
  }
}

TEST(OrderAgreement, CountsOnlyCandidatesWithFidelityAndSaysItInWords) {
  Bench b;
  for (const size_t wrong : {0, 100, 200}) b.add("c", 300, wrong);
  const double perplexity[] = {10.0, 30.0, 20.0};  // orders 1 and 2 the other way round
  for (size_t i = 0; i < 3; ++i) {
    b.at(i).fidelity.emplace();
    b.at(i).fidelity->perplexity.perplexity = perplexity[i];
  }
  b.add("without", 300, 500);
  b.choose();
  ASSERT_EQ(b.result.order_agreement.size(), 1u) << "no divergence was measured";
  const OrderAgreement& o = b.result.order_agreement[0];
  EXPECT_EQ(o.measure, "perplexity");
  EXPECT_EQ(o.agreement.all.pairs, 3);
  EXPECT_EQ(o.agreement.all.disagree, 1);
  const std::string text = describe_agreement(o, 0.95);
  EXPECT_NE(text.find("The order by perplexity disagrees with the order by task score in 1 of 3 pairs of candidates "
                      "(33 %, 95 % interval"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("Kendall's tau-b is 0.33"), std::string::npos) << text;
}

}  // namespace
}  // namespace thimble
