// Golden values: tests/golden/metrics, computed with sacreBLEU (see SOURCE.txt there).
#include "eval/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/json.h"
#include "eval/code_points.h"

namespace thimble {
namespace {

using Strings = std::vector<std::string>;

double chrf2_of(const std::string& h, const std::string& r) {
  return chrf2(h, Strings{r});
}
double edit_of(const std::string& h, const std::string& r) {
  return edit_similarity(h, Strings{r});
}
double exact_of(const std::string& h, const std::string& r) {
  return exact_match(h, Strings{r});
}

class ChrfGolden : public testing::TestWithParam<const char*> {};

TEST_P(ChrfGolden, EveryPairEqualsSacreBleu) {
  const std::string path = std::string(THIMBLE_SOURCE_DIR "/tests/golden/metrics/") + GetParam() + ".jsonl";
  std::ifstream file(path);
  std::string line;
  int n = 0;
  while (std::getline(file, line)) {
    const Json pair = Json::parse(line);
    const double expected = pair.at("chrf2").get<double>();
    EXPECT_NEAR(chrf2_of(pair.at("hyp").get<std::string>(), pair.at("ref").get<std::string>()), expected, 1e-4)
        << path << ": pair " << pair.at("i");
    ++n;
  }
  EXPECT_GE(n, 13);
}

INSTANTIATE_TEST_SUITE_P(Sets, ChrfGolden,
                         testing::Values("commits_en", "edge", "ntrex_es", "ntrex_fr", "ntrex_pt", "ntrex_zh",
                                         "qmsum_en"));

TEST(Chrf, TakesTheBestReferenceAndIgnoresSpaces) {
  EXPECT_DOUBLE_EQ(chrf2("a b c", Strings{"xyz", "abc"}), 100.0);
  EXPECT_DOUBLE_EQ(chrf2("abc", Strings{}), 0.0);
  EXPECT_DOUBLE_EQ(chrf2_of("", ""), 0.0);
}

TEST(Chrf, CountsCodePointsNotBytes) {
  // One of two code points agrees and no bigram does: P = R = (1/2 + 0) / 2. Bytes would share a lead byte as well.
  EXPECT_NEAR(chrf2_of("é·", "éà"), 25.0, 1e-9);
}

TEST(EditSimilarity, HandComputedValues) {
  EXPECT_DOUBLE_EQ(edit_of("", ""), 1.0);
  EXPECT_DOUBLE_EQ(edit_of("abc", ""), 0.0);
  EXPECT_DOUBLE_EQ(edit_of("kitten", "sitting"), 1.0 - 3.0 / 7.0);
  EXPECT_DOUBLE_EQ(edit_of("née", "nee"), 1.0 - 1.0 / 3.0);
  EXPECT_DOUBLE_EQ(edit_of("abcdef", "bcdef"), 1.0 - 1.0 / 6.0);
  EXPECT_DOUBLE_EQ(edit_similarity("abc", Strings{"zzz", "abd"}), 1.0 - 1.0 / 3.0);
}

TEST(ExactMatch, IgnoresCaseSpacesAndOneFullStop) {
  EXPECT_EQ(exact_of("Fried  lamb cake.", "fried lamb\ncake"), 1.0);
  EXPECT_EQ(exact_of("ÉCLAIR", "éclair"), 1.0);
  EXPECT_EQ(exact_of("cake..", "cake"), 0.0);
  EXPECT_EQ(exact_of("cake", "cakes"), 0.0);
  EXPECT_EQ(exact_match("b", Strings{"a", "B"}), 1.0);
}

TEST(FactRecall, SharesOfFactsWithAlternatives) {
  const std::vector<Strings> facts = {{"two", "2"}, {"Project  Manager"}, {"July"}};
  EXPECT_DOUBLE_EQ(fact_recall("2 people and the project manager", facts), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(fact_recall("", facts), 0.0);
  EXPECT_DOUBLE_EQ(fact_recall("anything", std::vector<Strings>{}), 1.0);
}

TEST(CodePoints, MalformedBytesBecomeReplacementCharacters) {
  EXPECT_EQ(code_points("a\xFF\xC3("), std::u32string(U"a\uFFFD\uFFFD("));
  EXPECT_EQ(code_points("\xE2\x82"), std::u32string(U"\uFFFD"));
  EXPECT_EQ(code_points("\xF0\x9F\x98\x80"), std::u32string(U"\U0001F600"));
}

TEST(CodePoints, FoldsCaseOfTheCommonScripts) {
  EXPECT_EQ(normalise("  ŁÓDŹ  ΑΘΉΝΑ\tМОСКВА ×"), code_points("łódź αθήνα москва ×"));
  for (char32_t c = 0; c < 0x3000; ++c) EXPECT_EQ(fold_case(fold_case(c)), fold_case(c)) << static_cast<uint32_t>(c);
}

}  // namespace
}  // namespace thimble
