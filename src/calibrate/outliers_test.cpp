// The outlier report against numbers worked out by hand.
#include "calibrate/outliers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace thimble {
namespace {

// 200 channels of mean square 1 but two; layers share channel 7.
Calibration two_layers() {
  std::vector<CalibrationEntry> entries;
  for (int layer = 0; layer < 2; ++layer) {
    CalibrationEntry entry;
    entry.name = fmt::format("blk.{}.ffn_down", layer);
    entry.weights = {entry.name + ".weight"};
    entry.statistics.n_in = 200;
    entry.statistics.n_tokens = 10;
    entry.statistics.mean_square.assign(200, 1.0f);
    entry.statistics.mean_square[7] = 1002.0f;
    entry.statistics.mean_square[layer == 0 ? 3 : 4] = 100.0f;
    entries.push_back(entry);
  }
  entries.push_back(entries.back());
  entries.back().name = "output";
  entries.back().weights = {"output.weight"};
  CalibrationInfo info;
  info.model_name = "a <b> & \"c\"";
  return Calibration::from_entries(info, entries);
}

TEST(Outliers, SharesAndPersistence) {
  const OutlierReport report = find_outliers(two_layers());
  ASSERT_EQ(report.inputs.size(), 3u);
  const InputOutliers& first = report.inputs[0];
  EXPECT_EQ(first.layer, 0);
  EXPECT_EQ(first.kind, "ffn_down");
  EXPECT_EQ(first.n_top_permille, 1);
  EXPECT_EQ(first.n_top_percent, 2);
  EXPECT_DOUBLE_EQ(first.share_permille, 1002.0 / 1300.0);
  EXPECT_DOUBLE_EQ(first.share_percent, 1102.0 / 1300.0);
  EXPECT_DOUBLE_EQ(first.largest_to_median, 1002.0);
  EXPECT_EQ(first.persistence, -1.0);
  EXPECT_EQ(first.top_percent, (std::vector<int32_t>{7, 3}));
  EXPECT_DOUBLE_EQ(report.inputs[1].persistence, 0.5);
  EXPECT_EQ(report.inputs[2].layer, -1);
  EXPECT_EQ(report.inputs[2].persistence, -1.0);
  ASSERT_EQ(report.kinds.size(), 2u);
  EXPECT_EQ(report.kinds[0].n_layers, 2);
  ASSERT_EQ(report.kinds[0].channels.size(), 1u);
  EXPECT_EQ(report.kinds[0].channels[0].channel, 7);
  EXPECT_EQ(report.kinds[0].channels[0].n_layers, 2);
}

TEST(Outliers, Documents) {
  const OutlierReport report = find_outliers(two_layers());
  const std::string text = outlier_text(report);
  EXPECT_NE(text.find("77.1 %"), std::string::npos);
  EXPECT_NE(text.find("84.8 %"), std::string::npos);
  EXPECT_NE(text.find("7: 2/2"), std::string::npos);
  const std::string html = outlier_html(report);
  EXPECT_NE(html.find("a &lt;b&gt; &amp; &quot;c&quot;"), std::string::npos);
  EXPECT_EQ(html.find("<b>"), std::string::npos);
  // 1002 is 6 half decades above the median, 100 is 4; channel 7 of both layers, channels 3 and 4 of one each.
  EXPECT_NE(html.find("<path fill=\"#d7301f\" d=\"M7 0h1v1h-1zM7 1h1v1h-1z\"/>"), std::string::npos);
  EXPECT_NE(html.find("<path fill=\"#fc8d59\" d=\"M3 0h1v1h-1zM4 1h1v1h-1z\"/>"), std::string::npos);
  const Json json = outlier_json(report);
  EXPECT_EQ(json.at("inputs").at(1).at("persistence").get<double>(), 0.5);
  EXPECT_TRUE(json.at("inputs").at(0).at("persistence").is_null());
}

// All zeros: nothing to divide by.
TEST(Outliers, DeadInput) {
  CalibrationEntry entry;
  entry.name = "blk.0.x";
  entry.statistics = {1, 1, {0.0f}, {}, {}};
  const OutlierReport report = find_outliers(Calibration::from_entries({}, std::span(&entry, 1)));
  EXPECT_EQ(report.inputs[0].share_percent, 0.0);
  EXPECT_EQ(report.inputs[0].largest_to_median, 0.0);
  EXPECT_FALSE(outlier_html(report).empty());
}

}  // namespace
}  // namespace thimble
