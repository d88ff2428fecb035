// Well-formedness of UTF-8 (Unicode 15.1, table 3-7) and texts made safe for terminals.
#include "base/utf8.h"

#include <gtest/gtest.h>

namespace thimble {
namespace {

TEST(Utf8, AcceptsTheFirstAndLastSequenceOfEachLength) {
  for (const char* text :
       {"", "\x01", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xEF\xBF\xBF",
        "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z"}) {
    EXPECT_TRUE(is_utf8(text)) << printable(text);
  }
}

TEST(Utf8, RefusesOverlongSurrogateLargeAndCutSequences) {
  for (const char* text : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF",
                           "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC2", "\xE2\x82",
                           "\xF0\x9F\x98", "\xC2z", "\xE2\x82z", "ok\xFE"}) {
    EXPECT_FALSE(is_utf8(text)) << printable(text);
  }
  EXPECT_TRUE(is_utf8(std::string_view("a\0b", 3)));
}

TEST(Printable, ReplacesWhatATerminalWouldActOn) {
  EXPECT_EQ(printable("plain \xC3\xA4"), "plain \xC3\xA4");
  EXPECT_EQ(printable("a\x1B[2Jb\x7F\n"), "a?[2Jb??");
  EXPECT_EQ(printable("\xC2\x9B\xFF"), "??");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a?b");
}

TEST(Printable, CutsBetweenCharacters) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdef", 5), "abcde...");
  EXPECT_EQ(printable("abc\xE2\x82\xAC", 5), "abc...");
}

}  // namespace
}  // namespace thimble
