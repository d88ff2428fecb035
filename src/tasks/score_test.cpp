// The table of metrics, and metrics of one answer that have no vectors elsewhere: values computed by hand.
#include "tasks/score.h"

#include <gtest/gtest.h>

#include <set>

#include "metrics/degeneration.h"
#include "metrics/identifiers.h"
#include "metrics/metrics.h"
#include "metrics/numbers.h"

namespace thimble {
namespace {

using Strings = std::vector<std::string>;

TEST(MetricTable, EveryRowIsFoundByItsName) {
  std::set<std::string_view> names;
  for (const MetricRow& row : metric_table()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(find_metric(row.name), &row);
    EXPECT_EQ(metric_name(row.metric), row.name);
    EXPECT_NE(metric_names().find(row.name), std::string::npos);
  }
  EXPECT_EQ(find_metric("Exact"), nullptr);
  EXPECT_EQ(find_metric(""), nullptr);
}

TaskSet task_of_all_metrics() {
  TaskSet task;
  task.name = "t";
  for (const MetricRow& row : metric_table()) task.metrics.push_back(row.metric);
  task.format.max_lines = 2;
  TaskItem item;
  item.id = "a";
  item.refs = {"Fix parse_json for 12 files\nand docs"};
  item.facts = {{"parse_json"}, {"twelve"}};
  item.items = {{"", {"Fix parse_json for 12 files"}}, {"", {"and docs"}}};
  task.items.push_back(item);
  return task;
}

TEST(MetricTable, APerfectAnswerScoresTheScaleOfEveryMetric) {
  const TaskSet task = task_of_all_metrics();
  const ItemResult r = score_item(task, task.items[0], task.items[0].refs[0], false);
  ASSERT_EQ(r.scores.size(), kMetricCount);
  for (const MetricRow& row : metric_table()) {
    const double expected = row.better == Better::lower ? 0.0 : row.scale;
    EXPECT_NEAR(r.scores.at(row.metric), expected, 1e-9) << row.name;
  }
}

TEST(MetricTable, AnEmptyAnswerScoresTheWorstOfEveryMetric) {
  TaskSet task = task_of_all_metrics();
  task.format.min_lines = 1;
  const ItemResult r = score_item(task, task.items[0], "", false);
  for (const MetricRow& row : metric_table()) {
    EXPECT_EQ(r.scores.at(row.metric), row.better == Better::lower ? row.scale : 0.0) << row.name;
  }
}

TEST(MetricTable, TheBestReferenceCounts) {
  TaskSet task = task_of_all_metrics();
  const std::string right = task.items[0].refs[0];
  task.items[0].refs = {"zzz", right, "qqq"};
  const ItemResult r = score_item(task, task.items[0], right, false);
  for (const MetricRow& row : metric_table()) {
    if (row.needs != Needs::refs) continue;
    EXPECT_NEAR(r.scores.at(row.metric), row.scale, 1e-9) << row.name;
  }
}

std::string numbers_of(const std::string& text) {
  std::string out;
  for (const char32_t c : normalise_numbers(text)) out += c < 128 ? static_cast<char>(c) : '?';
  return out;
}

TEST(Numbers, AreWrittenInOneWay) {
  EXPECT_EQ(numbers_of("1,200 and 1,200,000 and 1'000"), "1200 and 1200000 and 1000");
  EXPECT_EQ(numbers_of("1\u202F200 1\u00A0200"), "1200 1200");
  EXPECT_EQ(numbers_of("10,20,300 and 1,2 and 1,2000"), "10,20,300 and 1,2 and 1,2000");
  EXPECT_EQ(numbers_of("007 1.50 2.0 0.5 0 00"), "7 1.5 2 0.5 0 0");
  EXPECT_EQ(numbers_of("v1.20.0"), "v1.20.0");
  EXPECT_EQ(numbers_of("\uFF11\uFF12 \u0661\u0662 \u0967\u0968 \u22125"), "12 12 12 -5");
  EXPECT_EQ(numbers_of("Twenty-five, two hundred and three; seventy"), "25, 203; 70");
  EXPECT_EQ(numbers_of("one two three hundred"), "1 2 300");
  EXPECT_EQ(numbers_of("two thousand three hundred and four"), "2304");
  EXPECT_EQ(numbers_of("a million, 2.5 million, two million five"), "a 1000000, 2500000, 2000005");
  EXPECT_EQ(numbers_of("twelve hundred"), "1200");
  EXPECT_EQ(numbers_of("one and two"), "1 and 2");
  EXPECT_EQ(numbers_of("someone, tension, ones, one1, b\u00FCtwo"), "someone, tension, ones, one1, b?two");
  EXPECT_EQ(numbers_of("20 percent, five per cent, 7 %"), "20%, 5%, 7%");
  EXPECT_EQ(numbers_of("20 percentages"), "20 percentages");
  EXPECT_EQ(numbers_of("million thousand hundred"), "1000000 1000 100");
}

double recall_of(const std::string& answer, const Strings& alternatives) {
  return fact_recall(answer, std::vector<Strings>{alternatives});
}

TEST(FactRecall, NumbersAreComparedByValue) {
  EXPECT_EQ(recall_of("It cost 1,200 dollars.", {"1200"}), 1.0);
  EXPECT_EQ(recall_of("twenty-five people", {"25"}), 1.0);
  EXPECT_EQ(recall_of("25 people", {"twenty-five people"}), 1.0);
  EXPECT_EQ(recall_of("It was 112.", {"12"}), 0.0);
  EXPECT_EQ(recall_of("It was 12.5.", {"12"}), 0.0);
  EXPECT_EQ(recall_of("It was 3.12", {"12"}), 0.0);
  EXPECT_EQ(recall_of("It was 12.", {"12"}), 1.0);
  EXPECT_EQ(recall_of("112 or 12", {"12"}), 1.0);
  EXPECT_EQ(recall_of("-12", {"12"}), 0.0);
  EXPECT_EQ(recall_of("-12", {"-12"}), 1.0);
  EXPECT_EQ(recall_of("2024-12-01", {"12"}), 1.0);
}

TEST(FactRecall, FactsBeginWhereWordsBegin) {
  EXPECT_EQ(recall_of("Let us start.", {"art"}), 0.0);
  EXPECT_EQ(recall_of("Two artists.", {"art"}), 0.0 + 1.0);  // endings may differ
  EXPECT_EQ(recall_of("돼지고기김치볶음", {"김치"}), 1.0);   // compounds are written without spaces
  EXPECT_EQ(recall_of("東京都庁", {"京都"}), 1.0);
}

TEST(Identifiers, AreWordsWithTheFormOfCode) {
  const auto of = [](const std::string& text) { return identifiers(text); };
  EXPECT_EQ(of("Fix parse_json in src/main.cpp"), (Strings{"parse_json", "src/main.cpp"}));
  EXPECT_EQ(of("Use std::span, HttpClient and utf8 for the HTTP API."),
            (Strings{"std::span", "HttpClient", "utf8", "HTTP", "API"}));
  EXPECT_EQ(of("Add --force-with-lease and -x to push() (#123)"), (Strings{"--force-with-lease", "-x", "push"}));
  EXPECT_EQ(of("Bump to 1.14.2, e.g. for 20 well-known users"), (Strings{"1.14.2"}));
  EXPECT_EQ(of("Rename `old name` to `new`"), (Strings{"old name", "new"}));
  EXPECT_EQ(of("A plain Sentence: nothing here."), Strings{});
  EXPECT_EQ(of("unclosed `tick and `` two"), (Strings{"tick and "}));
  EXPECT_EQ(of("größe_x"), (Strings{"größe_x"}));
}

TEST(Identifiers, RecallCountsWholeWords) {
  EXPECT_EQ(identifier_recall("touch parse_json()", Strings{"Fix parse_json and HTTP"}), 0.5);
  EXPECT_EQ(identifier_recall("parse_json2", Strings{"Fix parse_json"}), 0.0);
  EXPECT_EQ(identifier_recall("Parse_JSON", Strings{"Fix parse_json"}), 0.0);
  EXPECT_EQ(identifier_recall("anything", Strings{"Fix typo"}), 1.0);
  EXPECT_EQ(identifier_recall("none", Strings{"Fix typo", "Fix a_b"}), 0.0);
}

TEST(LineItems, LinesAreComparedInOrder) {
  const std::vector<LineItem> items = {{"", {"Raw Fish"}}, {"", {"Soup", "Broth"}}, {"", {"Rice"}}};
  const auto exact = [&](const std::string& a) { return line_items_score(a, items, LineScore::exact); };
  EXPECT_DOUBLE_EQ(exact("Raw Fish\nBroth\nRice"), 1.0);
  EXPECT_DOUBLE_EQ(exact("1. raw fish\r\n\n2. broth.\n- Rice"), 1.0);
  EXPECT_DOUBLE_EQ(exact("Broth\nRice"), 0.0);
  EXPECT_DOUBLE_EQ(exact("Raw Fish"), 1.0 / 3.0);
  EXPECT_DOUBLE_EQ(exact("Raw Fish\nSoup\nRice\nEnjoy!"), 0.75);
  EXPECT_DOUBLE_EQ(line_items_score("Raw Fish\nSoup\nRice", items, LineScore::chrf_words), 100.0);
  EXPECT_EQ(without_list_mark("12) x"), "x");
  EXPECT_EQ(without_list_mark("3.5 l of milk"), "3.5 l of milk");
  EXPECT_EQ(without_list_mark("-"), "-");
  EXPECT_EQ(without_list_mark("365. Day"), "365. Day");
}

TEST(FormatRules, EachRuleCanBreak) {
  const auto broken = [](const FormatRules& rules, const std::string& answer, size_t items = 0) {
    return broken_format_rule(rules, answer, items);
  };
  FormatRules r;
  EXPECT_EQ(broken(r, ""), "");
  r.min_chars = 2, r.max_chars = 3;
  EXPECT_EQ(broken(r, " 김치 \n"), "");
  EXPECT_NE(broken(r, "김"), "");
  EXPECT_NE(broken(r, "abcd"), "");
  r = {};
  r.min_lines = 2, r.max_lines = 2;
  EXPECT_EQ(broken(r, "a\n\nb\n"), "");
  EXPECT_NE(broken(r, "a"), "");
  EXPECT_NE(broken(r, "a\nb\nc"), "");
  r = {};
  r.lines_as_items = true, r.max_line_chars = 4;
  EXPECT_EQ(broken(r, "aaaa\nb", 2), "");
  EXPECT_EQ(broken(r, "a\nb", 3), "2 lines, expected 3");
  EXPECT_NE(broken(r, "aaaaa\nb", 2), "");
  r = {};
  r.forbid = {"```"}, r.not_end = {"."};
  EXPECT_EQ(broken(r, "a. b"), "");
  EXPECT_EQ(broken(r, "a ```"), "contains '```'");
  EXPECT_EQ(broken(r, "a. \n"), "ends with '.'");
}

TEST(FormatRules, Json) {
  FormatRules r;
  r.json = JsonForm::any;
  EXPECT_EQ(broken_format_rule(r, " [1] ", 0), "");
  EXPECT_NE(broken_format_rule(r, "```json\n{}\n```", 0), "");
  EXPECT_NE(broken_format_rule(r, std::string(100000, '['), 0), "");
  EXPECT_NE(broken_format_rule(r, "\"\xFF\"", 0), "");
  r.json = JsonForm::object;
  r.json_keys = {"name"};
  EXPECT_EQ(broken_format_rule(r, R"({"name": 1})", 0), "");
  EXPECT_EQ(broken_format_rule(r, R"({"nam": 1})", 0), "JSON without the key 'name'");
  EXPECT_EQ(broken_format_rule(r, "[1]", 0), "JSON, but no object");
  r.json = JsonForm::array;
  EXPECT_EQ(broken_format_rule(r, "{}", 0), "JSON, but no array");
}

std::string repeat(const std::string& piece, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += piece;
  return out;
}

TEST(Degeneration, LoopsEmptyAndCutAnswers) {
  const auto of = [](const std::string& answer, bool cut = false) { return find_degeneration(answer, cut, {}); };
  EXPECT_EQ(of(" \n\u3000"), Degeneration::empty);
  EXPECT_EQ(of("", true), Degeneration::empty);
  EXPECT_EQ(of("A sentence that ends in the mid", true), Degeneration::cut);
  EXPECT_EQ(of("A sentence."), Degeneration::none);
  EXPECT_EQ(of("The answer is " + repeat("very ", 7)), Degeneration::loop);
  EXPECT_EQ(of("So " + repeat("그리고 나서 다시 ", 4), true), Degeneration::loop);
  EXPECT_EQ(of(repeat("A", 32)), Degeneration::loop);
  EXPECT_EQ(of(repeat("A", 31)), Degeneration::none);
  EXPECT_EQ(of(repeat("a longer piece of text, ", 3)), Degeneration::none);
  EXPECT_EQ(of("Title\n" + repeat("-", 80) + "\nText"), Degeneration::none);
  EXPECT_EQ(find_degeneration(repeat("na ", 12), false, Strings{repeat("na ", 11)}), Degeneration::none);
}

TEST(Degeneration, ALoopIsDescribedByItsShortestPiece) {
  const Loop loop = longest_loop("x" + repeat("abc", 20) + "y");
  EXPECT_EQ(loop.period, 3u);
  EXPECT_EQ(loop.length, 60u);
  EXPECT_EQ(longest_loop(repeat("0123456789", 3)).period, 0u);
  EXPECT_EQ(longest_loop(repeat(repeat("x", 400) + "y", 4)).period, 1u);
}

TEST(LengthRatio, AgainstTheNearestReference) {
  EXPECT_DOUBLE_EQ(length_ratio("김치", Strings{"abcd"}), 0.5);
  EXPECT_DOUBLE_EQ(length_ratio(" abc\n", Strings{"abcdefgh", "ab"}), 1.5);
  EXPECT_DOUBLE_EQ(length_ratio("", Strings{"a"}), 0.0);
}

}  // namespace
}  // namespace thimble
