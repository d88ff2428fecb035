#include "squeeze/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "squeeze/html_diff.h"
#include "squeeze/html_text.h"
#include "squeeze/report_script.h"
#include "squeeze/sample_result.h"
#include "squeeze/svg_plot.h"
#include "tasks/score.h"

namespace thimble {
namespace {

const char* const kHostile =
    "<script>alert('x')</script>\"><img src=http://e.vil/ onerror=alert(1)>&amp;</pre>\x01\xFF";

// Names of the elements of a document in which every start tag has its end tag; "" and a failure otherwise.
void expect_well_formed(const std::string& html) {
  const std::vector<std::string> empty = {"meta", "link", "br", "input"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    ASSERT_NE(end, std::string::npos) << html.substr(at, 80);
    const std::string tag = html.substr(at + 1, end - at - 1);
    if (tag.starts_with("!DOCTYPE") || tag.ends_with("/")) continue;
    const bool closing = tag.starts_with("/");
    const std::string name = tag.substr(closing ? 1 : 0, tag.find_first_of(" \n", closing ? 1 : 0) - (closing ? 1 : 0));
    if (std::find(empty.begin(), empty.end(), name) != empty.end()) continue;
    if (!closing) {
      open.push_back(name);
      continue;
    }
    ASSERT_FALSE(open.empty()) << tag;
    ASSERT_EQ(open.back(), name) << html.substr(at > 200 ? at - 200 : 0, 260);
    open.pop_back();
  }
  EXPECT_TRUE(open.empty()) << open.back();
}

// Made once for each text: comparing ten candidates takes a while under a sanitizer.
const SqueezeResult& sample(const std::string& hostile) {
  static std::map<std::string, SqueezeResult> made;
  const auto found = made.find(hostile);
  return found != made.end() ? found->second : made.emplace(hostile, testing_squeeze::result(hostile)).first->second;
}

TEST(Html, EscapesEveryCharacterThatMeansSomething) {
  EXPECT_EQ(html_escape("<a href=\"x\">'&\n\t"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\n\t");
  EXPECT_EQ(html_escape(std::string("\0\x1b\xFF", 3)), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(html_escape("Gâteau 간장게장"), "Gâteau 간장게장");
  EXPECT_EQ(format_bytes(4330528), "4.33 MB");
  EXPECT_EQ(format_bytes(7200000000), "7.20 GB");
}

TEST(Report, HtmlIsWellFormedAndSelfContainedWhateverTheAnswersSay) {
  for (const char* text : {"", kHostile}) {
    const std::string html = report_html(sample(text));
    expect_well_formed(html);
    const size_t script = html.find("<script");
    ASSERT_NE(script, std::string::npos);
    EXPECT_EQ(html.find("<script", script + 1), std::string::npos) << "one script, the page's own";
    EXPECT_NE(html.find(fmt::format("script-src 'sha256-{}'", report_script_sha256())), std::string::npos);
    EXPECT_EQ(html.find("<img"), std::string::npos);
    EXPECT_EQ(html.find("onerror=alert(1)>"), std::string::npos);
    EXPECT_EQ(html.find("src="), html.find("src=http://e.vil/")) << "the only src= is text";
    EXPECT_EQ(html.find("url("), std::string::npos);
    EXPECT_NE(html.find("<svg"), std::string::npos);
  }
}

TEST(Report, HtmlSaysVerdictFirstAndNamesEveryCandidate) {
  const SqueezeResult r = sample("");
  const std::string html = report_html(r);
  EXPECT_LT(html.find("class=\"verdict"), html.find("<svg"));
  for (const Candidate& c : r.candidates) EXPECT_NE(html.find(c.recipe.name), std::string::npos);
  EXPECT_NE(html.find("thimble squeeze models/"), std::string::npos);
  // For looking at, and for the browser test.
  write_file_atomically(THIMBLE_BINARY_DIR "/sample_report.html", html);
  write_file_atomically(THIMBLE_BINARY_DIR "/hostile_report.html", report_html(sample(kHostile)));
}

TEST(Report, NothingFitsMakesAReportToo) {
  SqueezeResult r = sample("");
  for (Candidate& c : r.candidates) {
    c.tasks.clear();
    c.fidelity.reset();
    c.excluded = "too big";
    c.standing = Standing::excluded;
  }
  r.verdict = Verdict::nothing_fits;
  r.picked = -1;
  expect_well_formed(report_html(r));
  EXPECT_TRUE(Json::parse(report_json(r)).at("picked").is_null());
}

TEST(Report, JsonHasTheDocumentedKeys) {
  const SqueezeResult r = sample(kHostile);
  const Json json = Json::parse(report_json(r));
  EXPECT_EQ(json.at("schema"), "thimble-squeeze-report/2");
  EXPECT_EQ(json.at("verdict"), verdict_name(r.verdict));
  EXPECT_EQ(json.at("picked"), r.picked);
  ASSERT_EQ(json.at("candidates").size(), r.candidates.size());
  const Json& first = json.at("candidates")[0];
  EXPECT_EQ(first.at("name"), "q8_0");
  EXPECT_EQ(first.at("score").at("mean"), 100.0);
  EXPECT_EQ(first.at("tasks")[0].at("metrics").at("exact"), 1.0);
  // None of 200 items differs: 1 - 0.025^(1/200) = 1.828 points could go unseen.
  EXPECT_NEAR(first.at("tasks")[0].at("against_float").at("low").get<double>(), -1.828, 5e-4);
  EXPECT_EQ(first.at("fidelity").at("kl_mean"), 0.0003);
  EXPECT_TRUE(first.at("excluded").is_null());
  const Json& last = json.at("candidates").back();
  EXPECT_TRUE(last.at("score").is_null());
  EXPECT_TRUE(last.at("excluded").is_string());
}

// Every key that report.json has stands in code marks in docs/EVALUATION.md, in the section about it.
TEST(Report, JsonKeysAreDocumented) {
  const std::string document = read_file(THIMBLE_SOURCE_DIR "/docs/EVALUATION.md", 1 << 20);
  const size_t begin = document.find("## report.json");
  ASSERT_NE(begin, std::string::npos);
  const std::string section = document.substr(begin, document.find("\n## ", begin + 1) - begin);
  EXPECT_NE(section.find("thimble-squeeze-report/2"), std::string::npos);
  std::set<std::string> keys;
  const std::function<void(const Json&)> collect = [&](const Json& value) {
    if (value.is_object()) {
      for (const auto& [key, inner] : value.items()) {
        if (find_metric(key) == nullptr) keys.insert(key);
        collect(inner);
      }
    } else if (value.is_array()) {
      for (const Json& inner : value) collect(inner);
    }
  };
  collect(Json::parse(report_json(sample(""))));
  EXPECT_GT(keys.size(), 60u);
  for (const std::string& key : keys) {
    const bool known = section.find("`" + key + "`") != std::string::npos;
    EXPECT_TRUE(known || section.find("`" + key + "[]`") != std::string::npos) << key << " is not documented";
  }
}

TEST(Report, MarkdownNamesEverythingAndCannotBeBrokenOutOf) {
  const std::string plain = report_markdown(sample(""));
  EXPECT_NE(plain.find("| q4\\_k\\_m |"), std::string::npos) << plain;
  EXPECT_NE(plain.find("thimble squeeze models/"), std::string::npos);
  std::string hostile = report_markdown(testing_squeeze::result("a|b\n<b>[x](http://e.vil) `c`"));
  hostile.resize(hostile.find("## Reproduce"));  // there the command line stands in a block of code
  EXPECT_EQ(hostile.find("<b>"), std::string::npos);
  EXPECT_EQ(hostile.find("[x]"), std::string::npos);
  EXPECT_NE(hostile.find("a\\|b"), std::string::npos);
  EXPECT_EQ(hostile.find("a|b"), std::string::npos);
}

TEST(HtmlDiff, MarksWordsThatTheOtherDoesNotHave) {
  const MarkedTexts m = mark_differences("Stir-fried rice <pasta>", "Stir-fried red rice", 100);
  EXPECT_EQ(m.a, "Stir-fried rice<mark> &lt;pasta&gt;</mark>");
  EXPECT_EQ(m.b, "Stir-fried <mark>red </mark>rice");
  const MarkedTexts same = mark_differences("간장게장", "간장게장", 100);
  EXPECT_EQ(same.a, "간장게장");
  EXPECT_EQ(same.b, same.a);
  const MarkedTexts korean = mark_differences("간장게장", "양념게장", 100);
  EXPECT_EQ(korean.b, "<mark>양념</mark>게장");
  EXPECT_EQ(mark_differences("", "x", 100).b, "<mark>x</mark>");
  EXPECT_EQ(cut_text("abc def ghi", 5), "abc d …");
}

TEST(Report, WorstItemsAreTheLargestLossesFirst) {
  const SqueezeResult r = sample("");
  const std::vector<WorstItem> worst = worst_items(r.candidates[9], r.baseline, 3);
  ASSERT_EQ(worst.size(), 3u);
  EXPECT_EQ(worst[0].item, 0u);
  EXPECT_EQ(worst[0].lost, 100.0);
  EXPECT_TRUE(worst_items(r.candidates[0], r.baseline, 3).empty());
}

TEST(Report, CommandLineIsQuotedForTheShell) {
  SqueezeOptions o;
  o.model = "my model's folder";
  o.device = "host";
  o.tasks = "t";
  o.output = "$(out)";
  const std::string command = reproduce_command(o);
  EXPECT_NE(command.find("'my model'\\''s folder'"), std::string::npos) << command;
  EXPECT_NE(command.find("-o '$(out)'"), std::string::npos) << command;
}

TEST(SvgPlot, TicksAreRoundAndCoverTheRange) {
  EXPECT_EQ(ticks(0, 100, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(ticks(3.1, 3.9, 4).size(), 5u + 1u);
  EXPECT_TRUE(ticks(1, 1, 5).empty());
  EXPECT_TRUE(ticks(0, std::nan(""), 5).empty());
}

TEST(SvgPlot, PointsThatCannotBeDrawnAreLeftOut) {
  Plot plot;
  EXPECT_EQ(svg_plot(plot, 300, 200), "");
  plot.log_y = true;
  plot.points.resize(2);
  plot.points[0] = {1, 0, {}, {}, "zero", "", "keeps"};
  plot.points[1] = {1, std::nan(""), {}, {}, "nan", "", "keeps"};
  EXPECT_EQ(svg_plot(plot, 300, 200), "");
  plot.points.push_back({2, 0.5, {}, {}, "<drawn>", "", "keeps"});
  const std::string svg = svg_plot(plot, 300, 200);
  EXPECT_NE(svg.find("&lt;drawn&gt;"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

}  // namespace
}  // namespace thimble
