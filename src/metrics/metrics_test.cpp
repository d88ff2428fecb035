// Metrics that compare texts: values computed by hand.
#include "metrics/metrics.h"

#include <gtest/gtest.h>

#include "metrics/code_points.h"

namespace thimble {
namespace {

using Strings = std::vector<std::string>;

double edit_of(const std::string& h, const std::string& r) {
  return edit_similarity(h, Strings{r});
}
double exact_of(const std::string& h, const std::string& r) {
  return exact_match(h, Strings{r});
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

TEST(CodePoints, TextsInNfdAreComposed) {
  EXPECT_EQ(exact_match("Cafe\u0301", std::vector<std::string>{"CAF\u00C9"}), 1.0);
}

TEST(CodePoints, FoldsCaseOfTheCommonScripts) {
  EXPECT_EQ(normalise("  ŁÓDŹ  ΑΘΉΝΑ\tМОСКВА ×"), code_points("łódź αθήνα москва ×"));
  for (char32_t c = 0; c < 0x3000; ++c) EXPECT_EQ(fold_case(fold_case(c)), fold_case(c)) << static_cast<uint32_t>(c);
}

}  // namespace
}  // namespace thimble
