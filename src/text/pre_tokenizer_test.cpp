// Pre-tokenizers against an independent regular expression engine (tests/golden/pretokenizers), and their bounds.
#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "text/unicode.h"

namespace thimble {
namespace {

std::vector<std::string> split(PreTokenizer pre, std::string_view text) {
  SplitScratch scratch;
  uint64_t work = 0;
  split_words(pre, text, scratch, work);
  std::vector<std::string> words;
  uint32_t begin = 0;
  for (const uint32_t end : scratch.ends) {
    const uint32_t to = scratch.offsets[end];
    words.emplace_back(text.substr(begin, to - begin));
    begin = to;
  }
  EXPECT_EQ(begin, text.size());
  return words;
}

TEST(PreTokenizer, SplitsAsTheDocumentedExpressions) {
  const Json golden = read_json_file(THIMBLE_SOURCE_DIR "/tests/golden/pretokenizers/splits.json", 1 << 22);
  const Json& texts = golden.at("texts");
  ASSERT_EQ(golden.at("splits").size(), 11U);
  for (const auto& [name, expected] : golden.at("splits").items()) {
    const std::optional<PreTokenizer> pre = pre_tokenizer_from_name(name);
    ASSERT_TRUE(pre.has_value()) << name;
    ASSERT_EQ(expected.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(split(*pre, texts[i].get<std::string>()), expected[i].get<std::vector<std::string>>())
          << name << " text " << i;
    }
  }
}

TEST(PreTokenizer, InvalidBytesStayWhereTheyAre) {
  // Each invalid byte is one character of the rest class, as U+FFFD is.
  EXPECT_EQ(split(PreTokenizer::gpt2, "a\xFF\xFE b"), (std::vector<std::string>{"a", "\xFF\xFE", " b"}));
  EXPECT_EQ(split(PreTokenizer::gpt2, "\xE4\xBD"), (std::vector<std::string>{"\xE4\xBD"}));
}

TEST(PreTokenizer, UnknownNamesAreNotKnown) {
  EXPECT_FALSE(pre_tokenizer_from_name("tekken").has_value());
  EXPECT_FALSE(pre_tokenizer_from_name("").has_value());
  EXPECT_NE(pre_tokenizer_names().find("deepseek-coder"), std::string::npos);
}

TEST(PreTokenizer, WorkGrowsLinearly) {
  const char* units[] = {" ", "a", "\xCC\x81", "1", "\n", " \n", " \t", "'", "a ", "1a", "\xE3\x80\x80", "! "};
  for (const PreTokenizer pre :
       {PreTokenizer::llama3, PreTokenizer::qwen2, PreTokenizer::gpt2, PreTokenizer::smollm, PreTokenizer::deepseek_llm,
        PreTokenizer::deepseek_coder, PreTokenizer::falcon, PreTokenizer::fallback}) {
    for (const char* unit : units) {
      uint64_t work[2] = {0, 0};
      for (size_t half = 0; half < 2; ++half) {
        std::string text;
        for (size_t i = 0; i < (half + 1) * 4000; ++i) text += unit;
        SplitScratch scratch;
        split_words(pre, text + "x", scratch, work[half]);
      }
      EXPECT_LT(static_cast<double>(work[1]), 2.5 * static_cast<double>(work[0])) << "unit " << unit;
    }
  }
}

TEST(Unicode, DecodesStrictlyWithMaximalSubparts) {
  struct Case {
    std::string_view bytes;
    uint8_t length;
    bool valid;
    bool incomplete;
  };
  // Unicode 15.1 §3.9, table 3-7 and its examples of ill-formed sequences.
  const Case cases[] = {{"a", 1, true, false},
                        {"\xC3\xA9", 2, true, false},
                        {"\xC0\x80", 1, false, false},
                        {"\xE0\x80\x80", 1, false, false},
                        {"\xED\xA0\x80", 1, false, false},
                        {"\xE1\x80\xE2", 2, false, false},
                        {"\xF0\x9F\x98", 3, false, true},
                        {"\xF0\x9F\x98\x80", 4, true, false},
                        {"\xF4\x90\x80\x80", 1, false, false},
                        {"\xF5", 1, false, false},
                        {"\x80", 1, false, false}};
  for (const Case& c : cases) {
    const Utf8Step step = decode_utf8(c.bytes);
    EXPECT_EQ(step.length, c.length);
    EXPECT_EQ(step.valid, c.valid);
    EXPECT_EQ(step.incomplete, c.incomplete);
  }
}

TEST(Unicode, ClassesOfKnownCharacters) {
  // UnicodeData.txt 15.1.
  EXPECT_EQ(char_class('a'), CharClass::letter);
  EXPECT_EQ(char_class(0x4E2D), CharClass::letter);
  EXPECT_EQ(char_class(0xBD), CharClass::number);
  EXPECT_EQ(char_class(0x301), CharClass::mark);
  EXPECT_EQ(char_class('_'), CharClass::punctuation);
  EXPECT_EQ(char_class('$'), CharClass::symbol);
  EXPECT_EQ(char_class(0x1F600), CharClass::symbol);
  EXPECT_EQ(char_class(0x378), CharClass::other);
  EXPECT_EQ(char_class(0x10FFFF), CharClass::other);
  EXPECT_EQ(char_flags(0x110000), 0);
  EXPECT_TRUE(is_white_space(0x85));
  EXPECT_TRUE(is_white_space(0x3000));
  EXPECT_FALSE(is_white_space(0x200B));
  EXPECT_FALSE(is_white_space(0x1C));
}

TEST(Unicode, StripsLikePython) {
  EXPECT_EQ(strip_unicode(" \xC2\xA0x y\xE3\x80\x80\x1F\n"), "x y");
  EXPECT_EQ(strip_unicode(" \n"), "");
  EXPECT_EQ(strip_unicode("\x80"), "\x80");
}

}  // namespace
}  // namespace thimble
