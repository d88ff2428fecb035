// tokenizer.json and tokenizer_config.json: the published file of SmolLM2, small documents of each known structure, and
// one exact error for each bad one.
#include "format/hf_tokenizer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"

namespace thimble {
namespace {

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}
Json split(const std::string& regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}
Json digits(bool individual) {
  return {{"type", "Digits"}, {"individual_digits", individual}};
}
Json sequence(Json::array_t steps) {
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

Json tiny_tokenizer() {
  return {{"added_tokens", {{{"id", 3}, {"content", "<|end|>"}, {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(true)},
          {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}, {"merges", {"a b"}}}}};
}

std::string tokenizer_error(const Json& document) {
  try {
    HfTokenizer::parse(document.dump(), "t");
  } catch (const Error& e) {
    return fmt::format("{}: {}", error_code_name(e.code()), e.what());
  }
  return "";
}

std::string pre_of(Json pre_tokenizer, Json normalizer = nullptr) {
  Json document = tiny_tokenizer();
  document["pre_tokenizer"] = std::move(pre_tokenizer);
  document["normalizer"] = std::move(normalizer);
  return HfTokenizer::parse(document.dump(), "t").pre_tokenizer;
}

TEST(HfTokenizer, ReadsSmolLm2) {
  const HfTokenizer tokenizer =
      HfTokenizer::open(std::string(THIMBLE_SOURCE_DIR) + "/tests/golden/tokenizers/smollm2/tokenizer.json");
  EXPECT_EQ(tokenizer.style, HfTokenizer::Style::byte_level);
  EXPECT_EQ(tokenizer.pre_tokenizer, "smollm");
  EXPECT_EQ(tokenizer.tokens.size(), 49152u);
  EXPECT_EQ(tokenizer.merges.size(), 48900u);
  EXPECT_EQ(tokenizer.added.size(), 17u);
  EXPECT_EQ(tokenizer.find("<|im_end|>"), 2);
  EXPECT_EQ(tokenizer.merges[0], std::make_pair(std::string("Ġ"), std::string("t")));
}

TEST(HfTokenizer, MergesInBothSpellings) {
  Json document = tiny_tokenizer();
  document["model"]["merges"] = Json::array({Json::array({"a", "b"})});
  EXPECT_EQ(HfTokenizer::parse(document.dump(), "t").merges, HfTokenizer::parse(tiny_tokenizer().dump(), "t").merges);
}

// The structures of the models' published tokenizer.json files.
TEST(HfTokenizer, RecognisesPreTokenizers) {
  const std::string llama3 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::string qwen2 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const Json nfc = {{"type", "NFC"}};
  const Json empty = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  EXPECT_EQ(pre_of(sequence({split(llama3), byte_level(false)})), "llama-bpe");
  EXPECT_EQ(pre_of(sequence({split(qwen2), byte_level(false)}), nfc), "qwen2");
  EXPECT_EQ(pre_of(byte_level(true)), "gpt-2");
  EXPECT_EQ(pre_of(byte_level(true), nfc), "mpt");
  EXPECT_EQ(pre_of(sequence({digits(true), byte_level(true)})), "smollm");
  EXPECT_EQ(pre_of(sequence({split("[\r\n]"), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"),
                             split("[一-龥ࠀ-一가-퟿]+"), digits(true), byte_level(false)}),
                   empty),
            "deepseek-coder");
  EXPECT_EQ(pre_of(sequence({split("[\r\n]"), split(R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓ]+)"),
                             split(R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)"), split(R"(\s+$)"),
                             split("[一-龥ࠀ-一가-퟿]+"), digits(true), byte_level(false)}),
                   empty),
            "deepseek-llm");
  EXPECT_EQ(pre_of(sequence({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                             byte_level(true),
                             digits(false),
                             split("[0-9][0-9][0-9]")})),
            "falcon");
  Json starcoder = tiny_tokenizer();
  starcoder["pre_tokenizer"] = sequence({digits(true), byte_level(true)});
  starcoder["added_tokens"][0]["content"] = "<fim_prefix>";
  EXPECT_EQ(HfTokenizer::parse(starcoder.dump(), "t").pre_tokenizer, "starcoder");
}

TEST(HfTokenizer, NamesAPreTokenizerItDoesNotKnow) {
  Json document = tiny_tokenizer();
  document["pre_tokenizer"] = sequence({split("[a-z]+"), byte_level(false)});
  const std::string expected =
      ", expected the one of llama-bpe, qwen2, gpt-2, mpt, smollm, starcoder, refact, falcon, deepseek-llm or "
      "deepseek-coder";
  EXPECT_EQ(tokenizer_error(document),
            "unsupported: t: key 'pre_tokenizer': found split [a-z]+, then bytes (normalizer: none, merges ignored for "
            "whole words)" +
                expected);
  document["pre_tokenizer"] = nullptr;
  document["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_EQ(
      tokenizer_error(document),
      "unsupported: t: key 'pre_tokenizer': found nothing (normalizer: Lowercase, merges ignored for whole words)" +
          expected);
  document["pre_tokenizer"] = 3;
  EXPECT_EQ(tokenizer_error(document), "corrupt: t: key 'pre_tokenizer': found number 3, expected an object");
}

TEST(HfTokenizer, SentencePieceStyle) {
  Json document = tiny_tokenizer();
  document["model"]["byte_fallback"] = true;
  document["model"]["unk_token"] = "a";
  document["pre_tokenizer"] = nullptr;
  document["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}, {"prepend", "▁"}}}}};
  HfTokenizer tokenizer = HfTokenizer::parse(document.dump(), "t");
  EXPECT_EQ(tokenizer.style, HfTokenizer::Style::sentencepiece);
  EXPECT_EQ(tokenizer.pre_tokenizer, "default");
  EXPECT_TRUE(tokenizer.add_space_prefix);
  EXPECT_EQ(tokenizer.unk_token, "a");
  document["normalizer"] = nullptr;
  document["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "never"}};
  EXPECT_FALSE(HfTokenizer::parse(document.dump(), "t").add_space_prefix);
  document["pre_tokenizer"]["prepend_scheme"] = "first";
  EXPECT_TRUE(HfTokenizer::parse(document.dump(), "t").add_space_prefix);
}

TEST(HfTokenizer, TemplateInsideASequence) {
  Json document = tiny_tokenizer();
  document["post_processor"] = {
      {"type", "Sequence"},
      {"processors",
       {{{"type", "ByteLevel"}},
        {{"type", "TemplateProcessing"},
         {"single", {{{"SpecialToken", {{"id", "<|begin|>"}}}}, {{"Sequence", {{"id", "A"}}}}}}}}}};
  const HfTokenizer tokenizer = HfTokenizer::parse(document.dump(), "t");
  EXPECT_TRUE(tokenizer.has_template);
  EXPECT_EQ(tokenizer.template_first, "<|begin|>");
  EXPECT_FALSE(tokenizer.template_last.has_value());
}

TEST(HfTokenizer, BadVocabularies) {
  Json document = tiny_tokenizer();
  document["model"]["type"] = "Unigram";
  EXPECT_EQ(tokenizer_error(document), "unsupported: t: tokenizer model 'Unigram', expected 'BPE'");
  document = tiny_tokenizer();
  document["model"]["vocab"] = {{"a", 0}, {"ab", 2}};
  EXPECT_EQ(tokenizer_error(document), "corrupt: t: key 'vocab': id 1 is missing, expected all ids up to 2");
  document["model"]["vocab"] = {{"a", 0}, {"b", 0}};
  EXPECT_EQ(tokenizer_error(document), "corrupt: t: key 'model': key 'vocab': id 0 is given twice, to 'a' and 'b'");
  document["model"]["vocab"] = {{"a", -1}};
  EXPECT_EQ(tokenizer_error(document),
            "corrupt: t: key 'model': key 'vocab': token 'a': found number -1, expected an id below 4194304");
  document["model"]["vocab"] = {{"a", 4000000000}};
  EXPECT_EQ(tokenizer_error(document),
            "corrupt: t: key 'model': key 'vocab': token 'a': found number 4000000000, expected an id below 4194304");
  document["model"]["vocab"] = {{"", 0}};
  EXPECT_EQ(tokenizer_error(document), "corrupt: t: key 'model': key 'vocab': token 0 is empty");
  document["model"]["vocab"] = Json::object();
  EXPECT_EQ(tokenizer_error(document), "corrupt: t: key 'model': key 'vocab': no tokens in it");
  document = tiny_tokenizer();
  document["added_tokens"][0]["id"] = 2;
  EXPECT_EQ(tokenizer_error(document),
            "corrupt: t: added token 2 '<|end|>' contradicts the vocabulary, which has 'ab' there");
  document["added_tokens"][0] = {{"id", 5}, {"content", "ab"}};
  EXPECT_EQ(tokenizer_error(document),
            "corrupt: t: added token 5 'ab' contradicts the vocabulary, which has it as 2, not there");
}

TEST(HfTokenizer, BadMerges) {
  Json document = tiny_tokenizer();
  for (const Json& merge : {Json("ab"), Json("a b c"), Json::array({"a"}), Json(3), Json::array({"a", 1})}) {
    document["model"]["merges"] = Json::array({merge});
    EXPECT_EQ(tokenizer_error(document),
              "corrupt: t: key 'model': merge 0: found " + describe_json(merge) + ", expected two tokens");
  }
  document["model"]["merges"] = Json::array({Json::array({"a ", "b"})});
  EXPECT_EQ(tokenizer_error(document),
            "corrupt: t: key 'model': merge 0: found 'a ' and 'b', expected two tokens without spaces");
  document["model"].erase("merges");
  EXPECT_EQ(tokenizer_error(document), "corrupt: t: key 'model': key 'merges' is missing");
}

TEST(HfTokenizerConfig, ReadsTokensAndTemplates) {
  const HfTokenizerConfig config = HfTokenizerConfig::parse(
      R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null, "add_bos_token": true,
          "added_tokens_decoder": {"10": {"content": "x"}, "9": {"content": "y", "special": true}},
          "chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]})",
      "t");
  EXPECT_EQ(config.bos_token, "<s>");
  EXPECT_EQ(config.eos_token, "</s>");
  EXPECT_FALSE(config.pad_token.has_value());
  EXPECT_EQ(config.add_bos_token, true);
  EXPECT_FALSE(config.add_eos_token.has_value());
  ASSERT_EQ(config.added.size(), 2u);
  EXPECT_EQ(config.added[0].id, 9);
  EXPECT_TRUE(config.added[0].special);
  ASSERT_EQ(config.chat_templates.size(), 2u);
  EXPECT_EQ(config.chat_templates[0], std::make_pair(std::string(), std::string("D")));
  EXPECT_EQ(config.chat_templates[1].first, "tool_use");
}

TEST(HfTokenizerConfig, BadInput) {
  const auto error = [](const std::string& text) {
    try {
      HfTokenizerConfig::parse(text, "t");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(error(R"({"bos_token": 1})"), "t: key 'bos_token': found number 1, expected a string");
  EXPECT_EQ(error(R"({"chat_template": 1})"), "t: key 'chat_template': found number 1, expected a string");
  EXPECT_EQ(error(R"({"chat_template": [1]})"), "t: key 'chat_template': found number 1, expected an object");
  EXPECT_EQ(error(R"({"added_tokens_decoder": {"x": {}}})"),
            "t: key 'added_tokens_decoder': key 'x', expected an id below 4194304");
  EXPECT_EQ(error(R"({"added_tokens_decoder": {"1": {}}})"), "t: key 'added_tokens_decoder': key 'content' is missing");
  EXPECT_EQ(error(R"({"added_tokens_decoder": {"1": {"content": "a"}, "01": {"content": "b"}}})"),
            "t: key 'added_tokens_decoder': id 1 is given twice, to 'b' and 'a'");
}

}  // namespace
}  // namespace thimble
