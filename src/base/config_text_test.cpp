// JSON and TOML readers: what they accept, and that every error names the source, the key, found and expected.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "base/toml.h"

namespace thimble {
namespace {

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::corrupt);
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Json, TypedGetters) {
  const Json json =
      parse_json(R"({"s": "x", "n": 3, "f": 1.5, "b": true, "z": null, "big": 18446744073709551615})", "t");
  const JsonObject object(json, "t");
  EXPECT_EQ(object.string("s"), "x");
  EXPECT_EQ(object.integer("n", 0, 10), 3);
  EXPECT_EQ(object.number("f"), 1.5);
  EXPECT_EQ(object.number("n"), 3.0);
  EXPECT_TRUE(object.boolean("b", false));
  EXPECT_FALSE(object.has("z"));
  EXPECT_EQ(object.string("z", "fallback"), "fallback");
  EXPECT_EQ(message_of([&] { object.integer("big", -1, INT64_MAX); }),
            "t: key 'big': found number 18446744073709551615, expected an integer from -1 to 9223372036854775807");
  EXPECT_EQ(message_of([&] { object.integer("n", 5, 9); }),
            "t: key 'n': found number 3, expected an integer from 5 to 9");
  EXPECT_EQ(message_of([&] { object.integer("n", -9, 2); }),
            "t: key 'n': found number 3, expected an integer from -9 to 2");
  EXPECT_EQ(message_of([&] { object.string("n"); }), "t: key 'n': found number 3, expected a string");
  EXPECT_EQ(message_of([&] { object.at("gone"); }), "t: key 'gone' is missing");
  EXPECT_NE(message_of([&] { object.only({"s", "n", "f"}); }).find("key 'b' is not known"), std::string::npos);
}

TEST(Json, RefusesDeepNestingBadUtf8AndSyntax) {
  EXPECT_NE(message_of([] { parse_json(std::string(100000, '['), "deep"); }).find("nested"), std::string::npos);
  EXPECT_NE(message_of([] { parse_json("\"\xff\"", "utf8"); }).find("utf8: not valid JSON"), std::string::npos);
  EXPECT_NE(message_of([] { parse_json("{\"a\":", "cut"); }).find("cut: not valid JSON"), std::string::npos);
  EXPECT_NO_THROW(parse_json(R"("[[[[[[\"[[[[[")", "brackets in a string"));
}

TEST(Toml, TypedGettersAndErrorsWithLines) {
  const TomlTable table = TomlTable::parse(
      "name = \"x\"\nn = 3\nlist = [\"a\", \"b\"]\nflags = [true, false]\n"
      "[[rule]]\nmatch = \"*\"\n[[rule]]\nmatch = 4\n",
      "r.toml");
  EXPECT_EQ(table.string("name"), "x");
  EXPECT_EQ(table.integer("n", 0, 5), 3);
  EXPECT_EQ(table.number("n"), 3.0);
  EXPECT_EQ(table.strings("list"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(table.booleans("flags"), (std::vector<bool>{true, false}));
  const auto rules = table.tables("rule");
  ASSERT_EQ(rules.size(), 2u);
  EXPECT_EQ(rules[0].string("match"), "*");
  EXPECT_EQ(message_of([&] { rules[1].string("match"); }),
            "r.toml: line 8: key 'match': found integer, expected a string");
  EXPECT_EQ(message_of([&] { table.integer("n", 4, 5); }),
            "r.toml: line 2: key 'n': found 3, expected an integer from 4 to 5");
  EXPECT_NE(message_of([&] {
              table.only({"name", "n", "list", "flags"});
            }).find("line 5: key 'rule' is not known"),
            std::string::npos);
  EXPECT_NE(message_of([] { TomlTable::parse("a = 1\nb = = 2\n", "bad.toml"); }).find("bad.toml: line 2:"),
            std::string::npos);
}

}  // namespace
}  // namespace thimble
