#include "base/time_left.h"

#include <gtest/gtest.h>

namespace thimble {
namespace {

TEST(TimeLeft, IsInProportionToWhatIsLeft) {
  TimeLeft left;
  EXPECT_FALSE(left.update(10, 0.0).has_value());
  EXPECT_FALSE(left.update(11, 0.01).has_value());
  EXPECT_DOUBLE_EQ(left.update(20, 0.25).value(), 30.0);
  EXPECT_DOUBLE_EQ(left.update(50, 1.0).value(), 0.0);
}

TEST(TimeLeft, WhatAnEarlierRunDidDoesNotCount) {
  TimeLeft left;
  EXPECT_FALSE(left.update(5, 0.8).has_value());
  EXPECT_DOUBLE_EQ(left.update(15, 0.9).value(), 10.0);
}

TEST(TimeLeft, WorkThatStartsOverIsMeasuredFromThere) {
  TimeLeft left;
  (void)left.update(0, 0.5);
  EXPECT_FALSE(left.update(100, 0.1).has_value());
  EXPECT_DOUBLE_EQ(left.update(110, 0.55).value(), 10.0);
}

TEST(TimeLeft, DurationsAreShortAndCarryTheirUnits) {
  EXPECT_EQ(format_duration(0.4), "0 s");
  EXPECT_EQ(format_duration(119.4), "119 s");
  EXPECT_EQ(format_duration(120), "2 min 00 s");
  EXPECT_EQ(format_duration(3599.4), "59 min 59 s");
  EXPECT_EQ(format_duration(3 * 3600 + 20 * 60), "3 h 20 min");
  EXPECT_EQ(format_duration(52 * 3600), "2 d 4 h");
  EXPECT_EQ(format_duration(-5), "0 s");
}

}  // namespace
}  // namespace thimble
