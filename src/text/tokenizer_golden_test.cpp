// Token ids of llama.cpp's own vocabularies and test texts (models/ggml-vocab-*.gguf with .inp and .out).
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "text/tokenizer.h"

namespace thimble {
namespace {

std::vector<std::string> read_inputs(const std::string& path) {
  const std::string raw = read_file(path, 1 << 20);
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<std::string> inputs;
  for (size_t pos = 0; pos < raw.size();) {
    const size_t next = raw.find(separator, pos);
    inputs.push_back(raw.substr(pos, next - pos));
    if (next == std::string::npos) break;
    pos = next + separator.size();
  }
  return inputs;
}

std::vector<std::vector<TokenId>> read_outputs(const std::string& path) {
  std::istringstream lines(read_file(path, 1 << 20));
  std::vector<std::vector<TokenId>> outputs;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::vector<TokenId>& ids = outputs.emplace_back();
    for (TokenId id = 0; words >> id;) ids.push_back(id);
  }
  return outputs;
}

class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, IdsEqualThoseOfLlamaCpp) {
  const std::string path =
      std::string(THIMBLE_SOURCE_DIR) + "/tests/golden/tokenizers/ggml-vocab-" + GetParam() + ".gguf";
  const Tokenizer tokenizer(GgufFile::open(path));
  const std::vector<std::string> inputs = read_inputs(path + ".inp");
  const std::vector<std::vector<TokenId>> outputs = read_outputs(path + ".out");
  ASSERT_EQ(inputs.size(), outputs.size());
  ASSERT_GE(inputs.size(), 40U);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(tokenizer.encode(inputs[i], SpecialTokens::as_text), outputs[i]) << "input " << i << ": " << inputs[i];
    EXPECT_EQ(tokenizer.decode(outputs[i]), inputs[i]) << "input " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, TokenizerGolden,
                         testing::Values("llama-spm", "phi-3", "llama-bpe", "qwen2", "gpt-2"),
                         [](const testing::TestParamInfo<const char*>& tested) {
                           std::string name = tested.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace thimble
