// Calibration samples from small files: templates, order, parts, and nothing that is evaluated.
#include "tasks/calibration_samples.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "tasks/task.h"
#include "text/tokenizer_fixture.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

class Samples : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("thimble_samples_{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content) const {
    const std::string path = (folder_ / name).string();
    write_file_atomically(path, content);
    return path;
  }
  static std::string item(const std::string& id, const std::string& user, const std::string& rest = "") {
    return R"({"id": ")" + id + R"(", "messages": [{"role": "user", "content": ")" + user + R"("})" + rest + "}\n";
  }
  CalibrationSamples make(const std::vector<SampleSource>& sources) {
    said_.clear();
    Task task;
    task.log = [&](LogLevel level, std::string_view text) {
      if (level == LogLevel::warning) said_ += std::string(text) + "\n";
    };
    return make_calibration_samples(
        tokenizer_, [] { return ChatTemplate::chatml; }, sources, settings_, task);
  }
  std::vector<TokenId> chat(const std::vector<ChatMessage>& messages, bool generate) const {
    return encode_chat(tokenizer_, render_chat(ChatTemplate::chatml, messages, generate));
  }
  bool contains(const CalibrationSamples& samples, const std::vector<TokenId>& tokens) const {
    return std::count(samples.sequences.begin(), samples.sequences.end(), tokens) == 1;
  }

  fs::path folder_;
  Tokenizer tokenizer_ = tokenizer_from(sentencepiece_fixture().metadata());
  SampleSettings settings_;
  std::string said_;
};

TEST_F(Samples, ItemsGetTheTemplateAndTheReferenceAsAnswer) {
  write("x.task.json",
        R"({"task": "x", "data": "x.eval.jsonl", "system": "Be kind.", "metrics": {"primary": "exact"}})");
  write("x.eval.jsonl", item("e", "Other", R"(], "refs": ["o"])"));
  const std::string items = item("a", "One", R"(, {"role": "assistant", "content": "1"}])") +
                            item("b", "Two", R"(], "refs": ["2", "two"])") + item("c", "Three", "]");
  write("x.calib.jsonl", items);
  settings_.n_samples = 3;
  const CalibrationSamples s = make({{folder_.string(), 1.0}});
  ASSERT_EQ(s.sequences.size(), 3u);
  const ChatMessage system = {"system", "Be kind."};
  EXPECT_TRUE(contains(s, chat({system, {"user", "One"}, {"assistant", "1"}}, false)));
  EXPECT_TRUE(contains(s, chat({system, {"user", "Two"}, {"assistant", "2"}}, false)));
  EXPECT_TRUE(contains(s, chat({system, {"user", "Three"}}, true)));
  EXPECT_EQ(said_, "");
  EXPECT_EQ(s.sources.at(0).n_taken, 3);
  EXPECT_NE(s.description.find("x.calib.jsonl: 3 of 3 items"), std::string::npos) << s.description;
}

TEST_F(Samples, NothingOfTheEvaluationGetsIn) {
  write("x.task.json", R"({"task": "x", "data": "x.eval.jsonl", "metrics": {"primary": "exact"}})");
  write("x.eval.jsonl", item("same_id", "A", R"(], "refs": ["o"])") + item("e", "Same prompt", R"(], "refs": ["o"])"));
  write("x.calib.jsonl", item("same_id", "B", "]") + item("c", "Same prompt", R"(], "refs": ["other"])") +
                             item("d", "Fine", "]") + item("e2", "Elsewhere", "]") + item("h", "Of no task", "]"));
  const std::string other = write("other.jsonl", item("f", "Elsewhere", R"(], "refs": ["o"])"));
  settings_.exclude = {other};
  write("y.eval.jsonl", item("g", "Of no task", "]"));
  const CalibrationSamples s = make({{folder_.string(), 1.0}});
  ASSERT_EQ(s.sequences.size(), 1u);
  EXPECT_TRUE(contains(s, chat({{"user", "Fine"}}, true)));
  EXPECT_EQ(s.sources.at(0).n_excluded, 4);
  EXPECT_NE(said_.find("4 items are part of the evaluation"), std::string::npos) << said_;
  EXPECT_NE(said_.find("1 samples of the 256"), std::string::npos) << said_;
  // Evaluation items alone are no calibration data.
  fs::remove(folder_ / "x.calib.jsonl");
  EXPECT_THROW(make({{folder_.string(), 1.0}}), Error);
}

TEST_F(Samples, LinesOfAnEvaluationTextAreLeftOut) {
  const std::string secret(80, 's'), shared(40, 'c'), own(80, 'o');
  settings_.exclude = {write("eval.txt", secret + "\n" + shared + "\n")};
  const CalibrationSamples s = make({{write("text.txt", own + "\n" + secret + "\n" + shared), 1.0}});
  EXPECT_EQ(s.sources.at(0).n_excluded, 1);
  ASSERT_EQ(s.sequences.size(), 1u);
  EXPECT_EQ(s.sequences[0], tokenizer_.encode_prompt(own + "\n" + shared, SpecialTokens::as_text));
}

TEST_F(Samples, TextIsCutIntoPiecesThatBeginWithBos) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>('a' + i * i % 23);
  settings_.n_context = 100;
  const std::string path = write("text.txt", text);
  const CalibrationSamples s = make({{path, 1.0}});
  const std::vector<TokenId> all = tokenizer_.encode(text, SpecialTokens::as_text);
  ASSERT_EQ(s.sequences.size(), all.size() / 99);
  for (size_t piece = 0; piece < s.sequences.size(); ++piece) {
    std::vector<TokenId> want = {tokenizer_.bos()};
    want.insert(want.end(), all.begin() + static_cast<std::ptrdiff_t>(99 * piece),
                all.begin() + static_cast<std::ptrdiff_t>(99 * (piece + 1)));
    EXPECT_TRUE(contains(s, want)) << piece;
  }
  // A text that fills no piece is one.
  EXPECT_EQ(make({{write("short.txt", "abc"), 1.0}}).sequences.size(), 1u);
}

TEST_F(Samples, RepetitionsCountOnceAndLongItemsAreCut) {
  const std::string one = write("one.jsonl", item("a", "Same", "]") + item("b", "Same", "]") + item("c", "More", "]"));
  const std::string two = write("two.jsonl", item("d", "Same", "]") + item("e", std::string(500, 'x'), "]"));
  settings_.n_context = 200;
  const CalibrationSamples s = make({{one, 1.0}, {two, 1.0}});
  EXPECT_EQ(s.sequences.size(), 3u);
  EXPECT_EQ(s.sources.at(0).n_repeated, 1);
  EXPECT_EQ(s.sources.at(1).n_repeated, 1);
  EXPECT_EQ(s.sources.at(1).n_cut, 1);
  for (const auto& sequence : s.sequences) EXPECT_LE(sequence.size(), 200u);
  EXPECT_NE(said_.find("1 of 1 items were cut"), std::string::npos) << said_;
}

TEST_F(Samples, WeightsDivideAndShortSourcesLeaveToOthers) {
  const auto source = [&](const std::string& name, int n) {
    std::string items;
    for (int i = 0; i < n; ++i) items += item(fmt::format("{}{}", name, i), fmt::format("{} {}", name, i), "]");
    return write(name + ".jsonl", items);
  };
  const std::string a = source("a", 50), b = source("b", 50), c = source("c", 3);
  const auto taken = [&](const std::vector<SampleSource>& sources) {
    std::vector<int64_t> counts;
    for (const SampleCount& s : make(sources).sources) counts.push_back(s.n_taken);
    return counts;
  };
  settings_.n_samples = 40;
  EXPECT_EQ(taken({{a, 1}, {b, 1}}), (std::vector<int64_t>{20, 20}));
  EXPECT_EQ(taken({{a, 3}, {b, 1}}), (std::vector<int64_t>{30, 10}));
  // c has 3 of its 20; a and b share the other 17 as 3 : 1, on top of 15 and 5.
  EXPECT_EQ(taken({{a, 3}, {b, 1}, {c, 4}}), (std::vector<int64_t>{28, 9, 3}));
  settings_.n_samples = 1000;
  EXPECT_EQ(taken({{a, 3}, {b, 1}, {c, 4}}), (std::vector<int64_t>{50, 50, 3}));
}

TEST_F(Samples, AreTheSameForTheSameSeed) {
  std::string items;
  for (int i = 0; i < 60; ++i) items += item(std::to_string(i), std::to_string(i * 7), "]");
  const std::string path = write("a.jsonl", items);
  settings_.n_samples = 20;
  const auto first = make({{path, 1.0}}).sequences;
  EXPECT_EQ(make({{path, 1.0}}).sequences, first);
  settings_.seed = 2;
  EXPECT_NE(make({{path, 1.0}}).sequences, first);
}

TEST_F(Samples, RefusesBadFiles) {
  const auto code = [&](const std::string& path) {
    try {
      make({{path, 1.0}});
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  };
  EXPECT_EQ(code((folder_ / "none.jsonl").string()), ErrorCode::not_found);
  EXPECT_EQ(code((folder_ / "none.txt").string()), ErrorCode::not_found);
  EXPECT_EQ(code(folder_.string()), ErrorCode::not_found);
  EXPECT_EQ(code(write("a.jsonl", "{")), ErrorCode::corrupt);
  EXPECT_EQ(code(write("b.jsonl", "\xFF\n")), ErrorCode::corrupt);
  EXPECT_EQ(code(write("c.jsonl", R"({"messages": []})")), ErrorCode::corrupt);
  EXPECT_EQ(code(write("d.jsonl", R"({"messages": [{"role": "robot", "content": "x"}]})")), ErrorCode::corrupt);
  EXPECT_EQ(code(write("e.jsonl", R"({"messages": [{"role": "user", "content": "x"}], "refs": [1]})")),
            ErrorCode::corrupt);
  EXPECT_EQ(code(write("f.jsonl", "\n\n")), ErrorCode::corrupt);
  EXPECT_EQ(code(write("g.txt", "")), ErrorCode::invalid_argument);
  EXPECT_EQ(code(write("h.jsonl", std::string(kMaxTaskLineBytes + 1, ' ') + "\n")), ErrorCode::resource_exhausted);
}

TEST(SampleSource, HasAPathAndPerhapsAWeight) {
  EXPECT_EQ(parse_sample_source("a/b").weight, 1.0);
  EXPECT_EQ(parse_sample_source("a/b=0.5").path, "a/b");
  EXPECT_EQ(parse_sample_source("a/b=0.5").weight, 0.5);
  for (const char* text : {"a=", "a=x", "a=0", "a=-1", "a=nan", "a=inf", "a=1x"}) {
    EXPECT_THROW(parse_sample_source(text), Error) << text;
  }
}

}  // namespace
}  // namespace thimble
