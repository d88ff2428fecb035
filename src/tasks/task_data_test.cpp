// Bad items of every kind: each an error that names file, line and key.
#include "tasks/task_data.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace thimble {
namespace {

constexpr const char* kGood = R"({"id": "a", "messages": [{"role": "user", "content": "Hi"}], "refs": ["Ho"]})";

const ItemDemands kExact = {{Metric::exact}, Metric::exact, false, false};

// Parses a good first line and `line` after it, which must fail with `code` and a message with all of `parts`.
void expect_error(const std::string& line, ErrorCode code, const std::vector<std::string>& parts,
                  const ItemDemands& demands = kExact) {
  try {
    parse_items(std::string(kGood) + "\n" + line, "t.jsonl", demands);
    ADD_FAILURE() << "no error: " << line.substr(0, 200);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << part << " is not in: " << e.what();
    }
    EXPECT_NE(std::string(e.what()).find("t.jsonl: line 2"), std::string::npos) << e.what();
    EXPECT_LT(std::string(e.what()).size(), 1000u);
  }
}

std::string item(const std::string& rest) {
  return R"({"id": "b", "messages": [{"role": "user", "content": "x"}], )" + rest + "}";
}

TEST(TaskData, BrokenJsonNamesTheKey) {
  expect_error(R"({"id": "b", "messages": [{"role": "user", "content": "x"}], "refs": ["x)", ErrorCode::corrupt,
               {"key 'refs'", "not valid JSON"});
  expect_error(R"({"id": "b", "messages": [{"role" "user"}], "refs": ["x"]})", ErrorCode::corrupt,
               {"key 'messages'", "not valid JSON"});
  expect_error(R"({"id": b})", ErrorCode::corrupt, {"key 'id'"});
  expect_error("not json", ErrorCode::corrupt, {"not valid JSON"});
  expect_error(R"({"id": "b", "refs": )" + std::string(100'000, '['), ErrorCode::corrupt, {"nested"});
}

TEST(TaskData, BytesThatAreNoUtf8NameTheKey) {
  expect_error("{\"id\": \"b\", \"refs\": [\"caf\xE9\"]}", ErrorCode::corrupt, {"key 'refs'", "UTF-8"});
  expect_error("\xFF\xFE{", ErrorCode::corrupt, {"UTF-8"});
  expect_error("{\"id\": \"\xED\xA0\x80\"}", ErrorCode::corrupt, {"key 'id'", "UTF-8"});
}

TEST(TaskData, LinesOfTenMegabytesNameTheKey) {
  const std::string big(10'000'000, 'r');
  expect_error(item("\"refs\": [\"" + big + "\"]"), ErrorCode::resource_exhausted,
               {"key 'refs'", "10000073 bytes", "at most 1048576"});
  expect_error(big, ErrorCode::resource_exhausted, {"10000000 bytes"});
  expect_error(item("\"refs\": [\"" + std::string(70'000, 'r') + "\"]"), ErrorCode::resource_exhausted,
               {"key 'refs'", "70000 bytes", "65536"});
}

TEST(TaskData, WrongTypesAndMissingKeys) {
  expect_error(R"({"id": 7})", ErrorCode::corrupt, {"'id'", "number 7", "string"});
  expect_error(R"({"messages": []})", ErrorCode::corrupt, {"'id' is missing"});
  expect_error(R"({"id": "b", "refs": ["x"]})", ErrorCode::corrupt, {"'messages' is missing"});
  expect_error(R"({"id": "b", "messages": "x", "refs": ["x"]})", ErrorCode::corrupt, {"'messages'", "array"});
  expect_error(R"({"id": "b", "messages": [{"role": "user", "content": 1}]})", ErrorCode::corrupt,
               {"messages[0]", "'content'", "number 1"});
  expect_error(item(R"("refs": [1])"), ErrorCode::corrupt, {"'refs'", "number 1", "string"});
  expect_error(item(R"("refs": [""])"), ErrorCode::corrupt, {"'refs'", "not empty"});
  expect_error(item(R"("refs": ["x"], "cluster": 3)"), ErrorCode::corrupt, {"'cluster'", "number 3"});
  expect_error(item(R"("refs": ["x"], "meta": 3)"), ErrorCode::corrupt, {"'meta'", "object"});
  expect_error(item(R"("refs": ["x"], "facts": ["y"])"), ErrorCode::corrupt, {"'facts'", "alternative"});
  expect_error(item(R"("refs": ["x"], "items": ["y"])"), ErrorCode::corrupt, {"items[0]", "object"});
  expect_error(item(R"("refs": ["x"], "items": [{"src": "y"}])"), ErrorCode::corrupt, {"items[0]", "'refs'"});
  expect_error(item(R"("refs": ["x"], "items": [{"ref": "y", "note": 1}])"), ErrorCode::corrupt,
               {"items[0]", "'note'"});
  expect_error(item(R"("refs": ["x"], "fact": [])"), ErrorCode::corrupt, {"'fact'", "not known"});
}

TEST(TaskData, DuplicateIds) {
  expect_error(kGood, ErrorCode::corrupt, {"key 'id'", "'a'", "second time"});
}

TEST(TaskData, WhatMetricsCompareWithMustBeThere) {
  expect_error(item(R"("refs": [])"), ErrorCode::corrupt, {"key 'refs'", "exact"});
  expect_error(R"({"id": "b", "messages": [{"role": "user", "content": "x"}]})", ErrorCode::corrupt, {"key 'refs'"});
  const auto fails_without = [](Metric m, const std::string& key) {
    try {
      parse_items(kGood, "t.jsonl", {{m}, m, false, false});
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("t.jsonl: line 1: key '" + key + "'"), std::string::npos) << e.what();
    }
    try {
      parse_items(kGood, "t.jsonl", {{Metric::exact, m}, Metric::exact, false, false});
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("key '" + key + "' is in no item"), std::string::npos) << e.what();
    }
  };
  fails_without(Metric::fact_recall, "facts");
  fails_without(Metric::items, "items");
  EXPECT_THROW(parse_items(kGood, "t.jsonl", {{Metric::exact}, Metric::exact, true, false}), Error);
}

TEST(TaskData, ReadsEveryKey) {
  const std::string text = "\xEF\xBB\xBF" +
                           std::string(R"({"id": "a", "cluster": "c", "task": "t", "meta": {"k": [1]},)") +
                           R"("messages": [{"role": "user", "content": "Hi"}], "refs": ["Ho"], "facts": [["x", "y"]],)"
                           R"("items": [{"src": "s", "ref": "r", "desc": "d"}, {"refs": ["p", "q"]}]})"
                           "\r\n\r\n";
  const std::vector<TaskItem> items = parse_items(text, "t.jsonl", kExact);
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].cluster, "c");
  EXPECT_EQ(items[0].line, 1);
  EXPECT_EQ(items[0].facts, (std::vector<std::vector<std::string>>{{"x", "y"}}));
  ASSERT_EQ(items[0].items.size(), 2u);
  EXPECT_EQ(items[0].items[0].source, "s");
  EXPECT_EQ(items[0].items[0].refs, (std::vector<std::string>{"r"}));
  EXPECT_EQ(items[0].items[1].refs, (std::vector<std::string>{"p", "q"}));
}

TEST(TaskData, CalibrationItemsMayEndWithTheAnswer) {
  const std::string text =
      R"({"id": "a", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]})";
  EXPECT_THROW(parse_items(text, "t.jsonl", kExact), Error);
  ItemDemands demands;
  demands.calibration = true;
  EXPECT_EQ(parse_items(text, "t.jsonl", demands).size(), 1u);
}

}  // namespace
}  // namespace thimble
