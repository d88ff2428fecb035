// Prompts of the nano tasks against the ids that training and the golden answers used (tests/golden/nano/README.md).
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "format/gguf.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace thimble {
namespace {

std::vector<Json> read_lines(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::vector<Json> out;
  for (std::string line; std::getline(file, line);) out.push_back(parse_json(line, path));
  return out;
}

TEST(SlowNanoPrompt, EveryTaskItemTokenizesAsInTraining) {
  const GgufFile gguf = GgufFile::open(THIMBLE_BINARY_DIR "/nano-f16.gguf");
  const Tokenizer tokenizer(gguf);
  const ChatTemplate chat = detect_chat_template(gguf);
  EXPECT_EQ(chat, ChatTemplate::chatml);
  for (const std::string task : {"menu", "meeting", "commit"}) {
    std::unordered_map<std::string, std::vector<int32_t>> expected;
    for (const Json& line : read_lines(THIMBLE_SOURCE_DIR "/tests/golden/nano/" + task + ".float.jsonl")) {
      expected[line.at("id")] = line.at("prompt_ids").get<std::vector<int32_t>>();
    }
    const std::vector<Json> items = read_lines(THIMBLE_SOURCE_DIR "/tasks/nano/" + task + ".eval.jsonl");
    ASSERT_EQ(items.size(), 120u);
    for (const Json& item : items) {
      std::vector<ChatMessage> messages;
      for (const Json& message : item.at("messages")) {
        messages.push_back({message.at("role").get<std::string>(), message.at("content").get<std::string>()});
      }
      const std::string id = item.at("id");
      EXPECT_EQ(encode_chat(tokenizer, render_chat(chat, messages, true)), expected.at(id)) << id;
    }
  }
}

}  // namespace
}  // namespace thimble
