#include "base/work_share.h"

#include <gtest/gtest.h>

#include <vector>

namespace thimble {
namespace {

struct Seen {
  double share;
  std::string label;
};

class Shares : public testing::Test {
 protected:
  Task task() {
    Task out;
    out.progress = [this](uint64_t done, uint64_t total, std::string_view label) {
      seen_.push_back({static_cast<double>(done) / static_cast<double>(total), std::string(label)});
    };
    return out;
  }
  std::vector<Seen> seen_;
};

TEST_F(Shares, PartsFollowOneAnother) {
  const Task all = task();
  WorkShare work(all, 4);
  const Task first = work.part(1, "first"), second = work.part(3, "second");
  first.report(1, 2, "its own");
  second.report(0, 10, "");
  second.report(20, 10, "more than all");
  ASSERT_EQ(seen_.size(), 3u);
  EXPECT_NEAR(seen_[0].share, 0.125, 1e-6);
  EXPECT_EQ(seen_[0].label, "first");
  EXPECT_NEAR(seen_[1].share, 0.25, 1e-6);
  EXPECT_NEAR(seen_[2].share, 1.0, 1e-6);
}

TEST_F(Shares, SharesOfAShareKeepTheirLabels) {
  const Task all = task();
  WorkShare outer(all, 10);
  (void)outer.part(5, "before");
  const Task rest = outer.part(5, "");
  WorkShare inner(rest, 2);
  (void)inner.part(1, "a");
  inner.part(1, "b").report(1, 2, "c");
  ASSERT_EQ(seen_.size(), 1u);
  EXPECT_NEAR(seen_[0].share, 0.5 + 0.5 * 0.75, 1e-5);
  EXPECT_EQ(seen_[0].label, "b");
}

TEST_F(Shares, WithoutAListenerNothingIsReportedAndCancellationStays) {
  CancelToken cancel;
  Task all;
  all.cancel = &cancel;
  WorkShare work(all, 0);  // no work at all must not divide by it
  const Task part = work.part(1, "x");
  part.report(1, 1, "");
  cancel.cancel();
  EXPECT_TRUE(part.cancelled());
  EXPECT_TRUE(work.quiet().cancelled());
}

}  // namespace
}  // namespace thimble
