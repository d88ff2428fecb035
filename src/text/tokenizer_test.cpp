// Tokenizer on small vocabularies: special tokens, bytes, decoding, hostile vocabularies, and work that grows linearly.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/tokenizer_fixture.h"
#include "text/tokenizer_model.h"

namespace thimble {
namespace {

using Ids = std::vector<TokenId>;

std::string bytes_of(const Tokenizer& tokenizer, const Ids& ids) {
  std::string text;
  for (const TokenId id : ids) text += tokenizer.piece(id);
  return text;
}

std::string random_bytes(std::mt19937& random, size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text.push_back(static_cast<char>(random() & 255));
  return text;
}

TEST(Tokenizer, AnyBytesRoundTrip) {
  std::mt19937 random(1);
  const Tokenizer spm = tokenizer_from(sentencepiece_fixture().metadata());
  for (const char* pre :
       {"llama-bpe", "qwen2", "gpt-2", "smollm", "deepseek-llm", "deepseek-coder", "falcon", "default"}) {
    const Tokenizer bpe = tokenizer_from(byte_level_fixture(pre).metadata());
    for (size_t size = 0; size < 40; ++size) {
      const std::string text = random_bytes(random, size);
      EXPECT_EQ(bytes_of(bpe, bpe.encode(text, SpecialTokens::as_text)), text) << pre;
      if (text.find("\xE2\x96\x81") != std::string::npos) continue;  // the marker itself reads as a space
      const std::string expected = text.empty() ? text : " " + text;
      EXPECT_EQ(bytes_of(spm, spm.encode(text, SpecialTokens::as_text)), expected);
    }
  }
}

TEST(Tokenizer, ControlSpellingsAreTextUnlessParsed) {
  for (const Tokenizer& tokenizer :
       {tokenizer_from(sentencepiece_fixture().metadata()), tokenizer_from(byte_level_fixture("gpt-2").metadata())}) {
    const std::string text = "<|im_start|>a<|im_end|>";
    for (const TokenId id : tokenizer.encode(text, SpecialTokens::as_text)) EXPECT_FALSE(tokenizer.is_control(id));
    const Ids parsed = tokenizer.encode(text, SpecialTokens::parse);
    EXPECT_EQ(parsed.front(), tokenizer.find("<|im_start|>"));
    EXPECT_EQ(parsed.back(), tokenizer.find("<|im_end|>"));
    EXPECT_EQ(tokenizer.piece(parsed.front()), "");
    EXPECT_EQ(tokenizer.piece(parsed.front(), true), "<|im_start|>");
    EXPECT_EQ(tokenizer.decode(parsed, true).substr(0, 12), "<|im_start|>");
  }
}

// Even a vocabulary whose merges spell a control token does not let plain text become one.
TEST(Tokenizer, MergesCannotSpellAControlToken) {
  VocabularyFixture spm = sentencepiece_fixture();
  spm.add("<");
  spm.add("s");
  spm.add(">");
  spm.add("<s", TokenKind::normal, -1.0F);
  const Tokenizer a = tokenizer_from(spm.metadata());
  for (const TokenId id : a.encode("<s>", SpecialTokens::as_text)) EXPECT_FALSE(a.is_control(id));
  VocabularyFixture bpe = byte_level_fixture("llama-bpe");
  bpe.add("(s)", TokenKind::control);
  bpe.add("(s");
  bpe.merges.insert(bpe.merges.end(), {"( s", "(s )"});
  GgufMetadata metadata = bpe.metadata();
  metadata.set_bool("tokenizer.ggml.add_bos_token", false);
  const Tokenizer b = tokenizer_from(metadata);
  const Ids ids = b.encode("(s)", SpecialTokens::as_text);
  for (const TokenId id : ids) EXPECT_FALSE(b.is_control(id));
  EXPECT_EQ(bytes_of(b, ids), "(s)");
}

TEST(Tokenizer, LongestSpecialTokenFirstAndUserDefinedAlways) {
  VocabularyFixture fixture = byte_level_fixture("gpt-2");
  for (const char* text : {"<<", "<<<a", "a>b"}) fixture.add(text, TokenKind::user_defined);
  const Tokenizer t = tokenizer_from(fixture.metadata());
  const auto id = [&](const char* text) { return t.find(text); };
  // "a>b" is longer than "<<" but shorter than "<<<a", which takes the a.
  EXPECT_EQ(t.encode("<<<a>b", SpecialTokens::as_text), (Ids{id("<<<a"), id(">"), id("b")}));
  EXPECT_EQ(t.encode("<<a>b", SpecialTokens::as_text), (Ids{id("<<"), id("a>b")}));
  EXPECT_EQ(t.encode("<<<<<", SpecialTokens::as_text), (Ids{id("<<"), id("<<"), id("<")}));
}

TEST(Tokenizer, PromptsGetBosAndEosAsTheVocabularyAsks) {
  GgufMetadata metadata = sentencepiece_fixture().metadata();
  const Tokenizer plain = tokenizer_from(metadata);
  EXPECT_TRUE(plain.adds_bos());
  EXPECT_FALSE(plain.adds_eos());
  EXPECT_EQ(plain.encode_prompt("", SpecialTokens::parse), (Ids{1}));
  metadata.set_bool("tokenizer.ggml.add_bos_token", false);
  metadata.set_bool("tokenizer.ggml.add_eos_token", true);
  const Tokenizer changed = tokenizer_from(metadata);
  EXPECT_EQ(changed.encode_prompt("", SpecialTokens::parse), (Ids{2}));
  EXPECT_FALSE(tokenizer_from(byte_level_fixture("qwen2").metadata()).adds_bos());
  EXPECT_TRUE(tokenizer_from(byte_level_fixture("llama3").metadata()).adds_bos());
}

TEST(Tokenizer, EndOfGenerationBySpellingAndById) {
  VocabularyFixture fixture = byte_level_fixture("gpt-2");
  fixture.add("<|eot_id|>");  // wrongly marked as normal
  GgufMetadata metadata = fixture.metadata();
  metadata.set_uint32("tokenizer.ggml.eos_token_id", 7);
  const Tokenizer t = tokenizer_from(metadata);
  for (const char* text : {"<|im_end|>", "<|endoftext|>", "<|eot_id|>"}) {
    EXPECT_TRUE(t.is_end_of_generation(t.find(text))) << text;
    EXPECT_TRUE(t.is_control(t.find(text))) << text;
  }
  EXPECT_TRUE(t.is_end_of_generation(7));
  EXPECT_FALSE(t.is_end_of_generation(t.find("<|im_start|>")));
  EXPECT_FALSE(t.is_end_of_generation(-1));
  EXPECT_FALSE(t.is_end_of_generation(1 << 30));
  EXPECT_EQ(t.piece(-1), "");
  EXPECT_EQ(t.piece(1 << 30), "");
}

TEST(StreamDecoder, EmitsWholeCharactersOnly) {
  const Tokenizer t = tokenizer_from(byte_level_fixture("gpt-2").metadata());
  const std::string text =
      "a\xF0\x9F\x98\x80"
      "b";
  StreamDecoder decoder(t);
  std::vector<std::string> steps;
  for (const TokenId id : t.encode(text, SpecialTokens::as_text)) steps.push_back(decoder.push(id));
  EXPECT_EQ(steps, (std::vector<std::string>{"a", "", "", "", "\xF0\x9F\x98\x80", "b"}));
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, InvalidBytesBecomeOneReplacementPerMaximalSubpart) {
  const Tokenizer t = tokenizer_from(byte_level_fixture("gpt-2").metadata());
  const std::string kR = "\xEF\xBF\xBD";
  const auto decode = [&](std::string_view bytes) { return t.decode(t.encode(bytes, SpecialTokens::as_text)); };
  EXPECT_EQ(decode("\xFF"
                   "a"),
            kR + "a");
  EXPECT_EQ(decode("\xE4\xBD"), kR);  // unfinished at the end
  EXPECT_EQ(decode("\xE4\xBD"
                   "a"),
            kR + "a");
  EXPECT_EQ(decode("\xC0\x80"), kR + kR);
  // The example of Unicode 15.1 §3.9, table 3-8.
  EXPECT_EQ(decode("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + kR + kR + kR + "b" + kR + "c" + kR + kR + "d");
}

TEST(StreamDecoder, DropsSentencePiecesFirstSpaceOnly) {
  const Tokenizer t = tokenizer_from(sentencepiece_fixture().metadata());
  EXPECT_TRUE(t.strips_leading_space());
  for (const char* text : {"a", " a", "  a b ", ""}) {
    EXPECT_EQ(t.decode(t.encode_prompt(text, SpecialTokens::as_text)), text);
  }
}

// A fragment after a special token starts with the space again, and content joins the text before it: what
// models/nano was trained with (its MODEL_CARD.md) and what llama.cpp gives for the whole string.
TEST(EncodeChat, JoinsTextAcrossPieces) {
  const Tokenizer t = tokenizer_from(sentencepiece_fixture().metadata());
  const std::vector<ChatMessage> messages{{"user", "ab<|im_end|>"}};
  const std::vector<PromptPiece> pieces = render_chat(ChatTemplate::chatml, messages, true);
  const Ids ids = encode_chat(t, pieces);
  EXPECT_EQ(ids.front(), t.bos());
  EXPECT_EQ(std::count(ids.begin(), ids.end(), t.find("<|im_end|>")), 1);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), t.find("<|im_start|>")), 2);
  const std::vector<ChatMessage> plain{{"user", "ab"}};
  const std::vector<PromptPiece> plain_pieces = render_chat(ChatTemplate::chatml, plain, true);
  EXPECT_EQ(encode_chat(t, plain_pieces), t.encode_prompt(join_pieces(plain_pieces), SpecialTokens::parse));
}

TEST(Tokenizer, WorkGrowsLinearlyOnHostileText) {
  VocabularyFixture added = byte_level_fixture("gpt-2");
  std::string run = "  ";
  for (int i = 0; i < 24; ++i, run += ' ') added.add(run, TokenKind::user_defined);
  const Tokenizer tokenizers[] = {
      tokenizer_from(sentencepiece_fixture().metadata()), tokenizer_from(byte_level_fixture("gpt-2").metadata()),
      tokenizer_from(byte_level_fixture("llama-bpe").metadata()),
      tokenizer_from(byte_level_fixture("deepseek-llm").metadata()), tokenizer_from(added.metadata())};
  for (const Tokenizer& tokenizer : tokenizers) {
    for (const char* unit : {" ", "a", "\xCC\x81", "1", "\n", "!", "\xFF", "ab", " a", "<|im_end|>", "<|im_end|"}) {
      uint64_t work[2] = {0, 0};
      for (size_t half = 0; half < 2; ++half) {
        std::string text;
        for (size_t i = 0; i < (half + 1) * 5000; ++i) text += unit;
        tokenizer.model().encode({{text, SpecialTokens::parse}}, work[half]);
      }
      EXPECT_LT(static_cast<double>(work[1]), 2.5 * static_cast<double>(work[0])) << "unit " << unit;
      EXPECT_GT(work[0], 5000U);
    }
  }
}

struct Fault {
  const char* name;
  std::function<void(GgufMetadata&)> make;
  ErrorCode code;
  const char* expected;  // part of the message
};

void expect_fault(GgufMetadata metadata, const Fault& fault) {
  fault.make(metadata);
  try {
    tokenizer_from(metadata);
    ADD_FAILURE() << fault.name << ": no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), fault.code) << fault.name << ": " << e.what();
    EXPECT_NE(std::string(e.what()).find(fault.expected), std::string::npos) << fault.name << ": " << e.what();
    EXPECT_NE(std::string(e.what()).find("test.gguf"), std::string::npos) << e.what();
  }
}

TEST(HostileVocabulary, SentencePieceFaultsNameKeyAndIndex) {
  const VocabularyFixture base = sentencepiece_fixture();
  const auto with_token = [&](size_t index, const char* text) {
    return [=](GgufMetadata& m) {
      std::vector<std::string> tokens = base.tokens;
      tokens[index] = text;
      m.set_strings("tokenizer.ggml.tokens", tokens);
    };
  };
  const auto with_score = [&](float score) {
    return [=](GgufMetadata& m) {
      std::vector<float> scores = base.scores;
      scores[300] = score;
      m.set_floats("tokenizer.ggml.scores", scores);
    };
  };
  const Fault faults[] = {
      {"model", [](GgufMetadata& m) { m.set_string("tokenizer.ggml.model", "t5"); }, ErrorCode::unsupported, "t5"},
      {"no model", [](GgufMetadata& m) { m.remove("tokenizer.ggml.model"); }, ErrorCode::corrupt,
       "tokenizer.ggml.model"},
      {"no tokens", [](GgufMetadata& m) { m.remove("tokenizer.ggml.tokens"); }, ErrorCode::corrupt, "ggml.tokens"},
      {"zero tokens", [](GgufMetadata& m) { m.set_strings("tokenizer.ggml.tokens", {}); }, ErrorCode::corrupt,
       "found 0"},
      {"few scores", [](GgufMetadata& m) { m.set_floats("tokenizer.ggml.scores", std::vector<float>(3)); },
       ErrorCode::corrupt, "found 3 entries"},
      {"nan score", with_score(std::nanf("")), ErrorCode::corrupt, "entry 300"},
      {"infinite score", with_score(std::numeric_limits<float>::infinity()), ErrorCode::corrupt, "entry 300"},
      {"few kinds", [](GgufMetadata& m) { m.set_int32s("tokenizer.ggml.token_type", std::vector<int32_t>(5)); },
       ErrorCode::corrupt, "found 5 entries"},
      {"bad kind",
       [&](GgufMetadata& m) {
         std::vector<int32_t> kinds = base.kinds;
         kinds[9] = -7;
         m.set_int32s("tokenizer.ggml.token_type", kinds);
       },
       ErrorCode::corrupt, "entry 9 is -7"},
      {"byte token", with_token(5, "<0x-1>"), ErrorCode::corrupt, "entry 5"},
      {"byte token length", with_token(6, "<0x"), ErrorCode::corrupt, "entry 6"},
      {"byte token digits", with_token(7, "<0xGG>"), ErrorCode::corrupt, "entry 7"},
      {"empty byte token", with_token(8, ""), ErrorCode::corrupt, "entry 8"},
      {"duplicate token", with_token(271, "<s>"), ErrorCode::corrupt, "entry 271 repeats entry 1"},
      {"bos range", [](GgufMetadata& m) { m.set_uint32("tokenizer.ggml.bos_token_id", 1u << 30); }, ErrorCode::corrupt,
       "bos_token_id"},
      {"eos range", [](GgufMetadata& m) { m.set_uint32("tokenizer.ggml.eos_token_id", 70000); }, ErrorCode::corrupt,
       "eos_token_id"},
      {"bos type", [](GgufMetadata& m) { m.set_string("tokenizer.ggml.bos_token_id", "1"); }, ErrorCode::corrupt,
       "bos_token_id"},
      {"bos negative", [](GgufMetadata& m) { m.set_int32("tokenizer.ggml.bos_token_id", -2); }, ErrorCode::corrupt,
       "bos_token_id"},
      {"bos none", [](GgufMetadata& m) { m.set_uint32("tokenizer.ggml.bos_token_id", 0xFFFFFFFFu); },
       ErrorCode::corrupt, "bos_token_id"},
      {"flag type", [](GgufMetadata& m) { m.set_string("tokenizer.ggml.add_bos_token", "yes"); }, ErrorCode::corrupt,
       "add_bos_token"},
  };
  for (const Fault& fault : faults) expect_fault(base.metadata(), fault);
}

TEST(HostileVocabulary, ByteLevelFaultsNameKeyAndIndex) {
  const auto with_merge = [](const char* merge) {
    return [=](GgufMetadata& m) { m.set_strings("tokenizer.ggml.merges", std::vector<std::string>{"a b", merge}); };
  };
  const Fault faults[] = {
      {"pre", [](GgufMetadata& m) { m.set_string("tokenizer.ggml.pre", "kimi-k2"); }, ErrorCode::unsupported,
       "kimi-k2"},
      {"no merges", [](GgufMetadata& m) { m.remove("tokenizer.ggml.merges"); }, ErrorCode::corrupt, "ggml.merges"},
      {"no space", with_merge("ab"), ErrorCode::corrupt, "entry 1"},
      {"empty", with_merge(""), ErrorCode::corrupt, "entry 1"},
      {"no right", with_merge("ab "), ErrorCode::corrupt, "entry 1"},
      {"no left", with_merge(" ab"), ErrorCode::corrupt, "entry 1"},
  };
  for (const Fault& fault : faults) expect_fault(byte_level_fixture("gpt-2").metadata(), fault);
}

TEST(Tokenizer, EmptyEntriesStandForNothing) {
  for (VocabularyFixture fixture : {sentencepiece_fixture(), byte_level_fixture("llama-bpe")}) {
    const Ids expected = tokenizer_from(fixture.metadata()).encode("ab <|im_end|> ba", SpecialTokens::parse);
    const auto first = static_cast<TokenId>(fixture.tokens.size());
    // add() keeps one entry per text; vocabularies that have empty entries have several.
    for (const TokenKind kind : {TokenKind::normal, TokenKind::control, TokenKind::user_defined, TokenKind::unknown}) {
      fixture.tokens.emplace_back();
      fixture.scores.push_back(100.0F);
      fixture.kinds.push_back(static_cast<int32_t>(kind));
    }
    const Tokenizer t = tokenizer_from(fixture.metadata());
    EXPECT_EQ(t.encode("ab <|im_end|> ba", SpecialTokens::parse), expected) << fixture.model;
    EXPECT_EQ(t.decode({first, first + 1, first + 2, first + 3}, true), "");
    EXPECT_EQ(t.find(""), kNoToken);
    EXPECT_FALSE(t.is_end_of_generation(first));
  }
}

TEST(Tokenizer, SentencePieceWithoutScoresAndKindsMergesFromTheLeft) {
  VocabularyFixture fixture = sentencepiece_fixture();
  const auto be = std::find(fixture.tokens.begin(), fixture.tokens.end(), "be") - fixture.tokens.begin();
  fixture.scores[static_cast<size_t>(be)] = 100.0F;
  GgufMetadata metadata = fixture.metadata();
  metadata.set_bool("tokenizer.ggml.add_space_prefix", false);
  const Tokenizer scored = tokenizer_from(metadata);
  EXPECT_EQ(scored.encode("abe", SpecialTokens::as_text), (Ids{scored.find("a"), scored.find("be")}));
  metadata.remove("tokenizer.ggml.scores");
  metadata.remove("tokenizer.ggml.token_type");
  const Tokenizer bare = tokenizer_from(metadata);
  EXPECT_EQ(bare.encode("abe", SpecialTokens::as_text), (Ids{bare.find("ab"), bare.find("e")}));
  // Byte tokens are known by their spelling.
  EXPECT_EQ(bare.encode("z", SpecialTokens::as_text), (Ids{bare.find("<0x7A>")}));
  EXPECT_EQ(bare.decode({bare.find("<0x7A>")}), "z");
}

// Merges that name texts outside the vocabulary are followed and their result falls apart into bytes.
TEST(HostileVocabulary, MergesOutsideTheVocabularyFallBackToBytes) {
  VocabularyFixture fixture = byte_level_fixture("gpt-2");
  fixture.merges = {"x y", "xy z", "q q", "q q"};
  const Tokenizer t = tokenizer_from(fixture.metadata());
  EXPECT_EQ(t.encode("xyz", SpecialTokens::as_text), (Ids{t.find("x"), t.find("y"), t.find("z")}));
  EXPECT_EQ(t.encode("qqq", SpecialTokens::as_text), (Ids{t.find("q"), t.find("q"), t.find("q")}));
}

TEST(HostileVocabulary, MissingBytesBecomeTheUnknownToken) {
  VocabularyFixture spm;
  spm.add("<unk>", TokenKind::unknown);
  spm.add("<s>", TokenKind::control);
  spm.add("</s>", TokenKind::control);
  spm.add("a");
  const Tokenizer t = tokenizer_from(spm.metadata());
  EXPECT_EQ(t.encode("ax", SpecialTokens::as_text), (Ids{0, 0, 0, 3, 0}));  // the marker's three bytes, a, x
}

}  // namespace
}  // namespace thimble
