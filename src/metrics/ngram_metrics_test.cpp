// chrF, BLEU, ROUGE and the stemmer against tests/golden/metrics: values of sacreBLEU, rouge_score, ROUGE-1.5.5 and
// NLTK (see SOURCE.txt there), to the digits that are printed.
#include <gtest/gtest.h>

#include <fstream>

#include "base/json.h"
#include "metrics/bleu.h"
#include "metrics/chrf.h"
#include "metrics/porter_stemmer.h"
#include "metrics/rouge.h"

namespace thimble {
namespace {

using Strings = std::vector<std::string>;

constexpr const char* kFolder = THIMBLE_SOURCE_DIR "/tests/golden/metrics/";
constexpr double kEightDigits = 6e-9;
constexpr double kTenDigits = 6e-11;

std::vector<Json> read_lines(const std::string& name) {
  std::ifstream file(kFolder + name);
  std::vector<Json> out;
  for (std::string line; std::getline(file, line);) out.push_back(Json::parse(line));
  return out;
}

struct Pair {
  std::string hypothesis;
  Strings references;
  const Json* expected;
};

class Golden : public testing::TestWithParam<const char*> {
 protected:
  Golden() : lines_(read_lines(std::string(GetParam()) + ".jsonl")) {
    for (const Json& line : lines_) {
      pairs_.push_back({line.at("hyp").get<std::string>(), {line.at("ref").get<std::string>()}, &line});
    }
    corpus_ = Json::parse(std::ifstream(std::string(kFolder) + "corpus_scores.json")).at(GetParam());
  }
  BleuTokenizer tokenizer() const {
    return std::string_view(GetParam()) == "ntrex_zh" ? BleuTokenizer::chinese : BleuTokenizer::thirteen_a;
  }

  std::vector<Json> lines_;
  std::vector<Pair> pairs_;
  Json corpus_;
};

TEST_P(Golden, Chrf) {
  ASSERT_GE(pairs_.size(), 13U);
  ChrfCounts sum;
  ChrfCounts sum_words;
  for (const Pair& pair : pairs_) {
    const ChrfCounts counts = chrf_counts(pair.hypothesis, pair.references, ChrfWords::none);
    const ChrfCounts with_words = chrf_counts(pair.hypothesis, pair.references, ChrfWords::bigrams);
    EXPECT_NEAR(chrf(counts), pair.expected->at("chrf2").get<double>(), kEightDigits) << *pair.expected;
    EXPECT_NEAR(chrf(with_words), pair.expected->at("chrf2pp").get<double>(), kEightDigits) << *pair.expected;
    sum += counts;
    sum_words += with_words;
  }
  EXPECT_NEAR(chrf(sum), corpus_.at("chrf2").get<double>(), kEightDigits);
  EXPECT_NEAR(chrf(sum_words), corpus_.at("chrf2pp").get<double>(), kEightDigits);
}

TEST_P(Golden, Bleu) {
  BleuCounts sum;
  for (const Pair& pair : pairs_) {
    const BleuCounts counts = bleu_counts(pair.hypothesis, pair.references, tokenizer());
    EXPECT_NEAR(bleu(counts, BleuOrder::effective), pair.expected->at("bleu_sent").get<double>(), kEightDigits)
        << *pair.expected;
    sum += counts;
  }
  EXPECT_NEAR(bleu(sum, BleuOrder::corpus), corpus_.at("bleu").get<double>(), kEightDigits);
  EXPECT_EQ(sum.hypothesis_length, corpus_.at("sys_len").get<int64_t>());
  EXPECT_EQ(sum.reference_length, corpus_.at("ref_len").get<int64_t>());
}

void expect_rouge(const RougeScore& found, const Json& expected, const std::string& what) {
  EXPECT_NEAR(found.precision, expected.at("p").get<double>(), kTenDigits) << what;
  EXPECT_NEAR(found.recall, expected.at("r").get<double>(), kTenDigits) << what;
  EXPECT_NEAR(found.f, expected.at("f").get<double>(), kTenDigits) << what;
}

TEST_P(Golden, Rouge) {
  for (const Pair& pair : pairs_) {
    for (const auto& [key, stemming] :
         {std::pair("rouge", Stemming::none), std::pair("rouge_stem", Stemming::porter)}) {
      if (!pair.expected->contains(key)) continue;  // not computed for languages other than English
      const Json& expected = pair.expected->at(key);
      const std::string what = std::string(key) + " of " + pair.hypothesis;
      const std::string& reference = pair.references.front();
      expect_rouge(rouge_n(pair.hypothesis, reference, 1, stemming), expected.at("rouge1"), what);
      expect_rouge(rouge_n(pair.hypothesis, reference, 2, stemming), expected.at("rouge2"), what);
      expect_rouge(rouge_l(pair.hypothesis, reference, stemming), expected.at("rougeL"), what);
      expect_rouge(rouge_lsum(pair.hypothesis, reference, stemming), expected.at("rougeLsum"), what);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, Golden,
                         testing::Values("commits_en", "edge", "ntrex_es", "ntrex_fr", "ntrex_pt", "ntrex_zh",
                                         "qmsum_en"));

RougeScore rouge(const std::string& metric, const std::string& hypothesis, const std::string& reference, Stemming s) {
  if (metric == "rougeL") return rouge_l(hypothesis, reference, s);
  if (metric == "rougeLsum") return rouge_lsum(hypothesis, reference, s);
  return rouge_n(hypothesis, reference, metric.back() - '0', s);
}

TEST(Rouge, EqualsTheOfficialProgramToFiveDigits) {
  const std::vector<Json> cases = read_lines("rouge155_official.jsonl");
  ASSERT_EQ(cases.size(), 12U);
  for (const Json& c : cases) {
    const Stemming stemming = c.at("stem").get<bool>() ? Stemming::porter : Stemming::none;
    const RougeScore found = rouge(c.at("metric").get<std::string>(), c.at("hyp").get<std::string>(),
                                   c.at("ref").get<std::string>(), stemming);
    EXPECT_NEAR(found.precision, c.at("p").get<double>(), 6e-6) << c;
    EXPECT_NEAR(found.recall, c.at("r").get<double>(), 6e-6) << c;
    EXPECT_NEAR(found.f, c.at("f").get<double>(), 6e-6) << c;
  }
}

TEST(PorterStemmer, EveryWordOfTheListEqualsNltk) {
  std::ifstream file(std::string(kFolder) + "porter_nltk_ext.tsv");
  int n = 0;
  for (std::string line; std::getline(file, line); ++n) {
    const size_t tab = line.find('\t');
    EXPECT_EQ(porter_stem(line.substr(0, tab)), line.substr(tab + 1)) << line;
  }
  EXPECT_EQ(n, 11006);
}

TEST(Chrf, TakesTheBestReferenceAndIgnoresSpaces) {
  EXPECT_DOUBLE_EQ(chrf("a b c", Strings{"xyz", "abc"}, ChrfWords::none), 100.0);
  EXPECT_DOUBLE_EQ(chrf("abc", Strings{}, ChrfWords::none), 0.0);
  EXPECT_DOUBLE_EQ(chrf("", Strings{""}, ChrfWords::none), 0.0);
}

TEST(Chrf, CountsCodePointsNotBytes) {
  // One of two code points agrees and no bigram does: P = R = (1/2 + 0) / 2. Bytes would share a lead byte as well.
  EXPECT_NEAR(chrf("é·", Strings{"éà"}, ChrfWords::none), 25.0, 1e-9);
}

TEST(Bleu, TokenizersSeparateWhatTheirNamesSay) {
  using Tokens = std::vector<std::u32string>;
  EXPECT_EQ(bleu_tokens("Say &quot;1,000.5&quot;, x-y!", BleuTokenizer::thirteen_a),
            (Tokens{U"Say", U"\"", U"1,000.5", U"\"", U",", U"x-y", U"!"}));
  EXPECT_EQ(bleu_tokens("«déjà» 1,5 €x", BleuTokenizer::international),
            (Tokens{U"«", U"déjà", U"»", U"1,5", U"€", U"x"}));
  EXPECT_EQ(bleu_tokens("中文a b。", BleuTokenizer::chinese), (Tokens{U"中", U"文", U"a", U"b", U"。"}));
}

TEST(Bleu, TakesTheReferenceClosestInLengthAndTheHighestCounts) {
  const BleuCounts counts = bleu_counts("a a b", Strings{"a", "a a c d"}, BleuTokenizer::thirteen_a);
  EXPECT_EQ(counts.reference_length, 4);
  EXPECT_EQ(counts.matches[0], 2);
  EXPECT_EQ(counts.matches[1], 1);
  // Two references equally far: the shorter one counts.
  EXPECT_EQ(bleu_counts("a b", Strings{"a b c", "a"}, BleuTokenizer::thirteen_a).reference_length, 1);
}

TEST(Bleu, ShortTextsHaveNoCorpusScoreButASentenceScore) {
  const BleuCounts counts = bleu_counts("a b", Strings{"a b"}, BleuTokenizer::thirteen_a);
  EXPECT_DOUBLE_EQ(bleu(counts, BleuOrder::corpus), 0.0);
  EXPECT_NEAR(bleu(counts, BleuOrder::effective), 100.0, 1e-9);
  EXPECT_DOUBLE_EQ(bleu({}, BleuOrder::effective), 0.0);
}

TEST(Rouge, OtherScriptsHaveNoWords) {
  EXPECT_DOUBLE_EQ(rouge_l("국수", "국수", Stemming::none).f, 0.0);
  EXPECT_DOUBLE_EQ(rouge_lsum("\n\n", "a\nb", Stemming::none).f, 0.0);
}

}  // namespace
}  // namespace thimble
