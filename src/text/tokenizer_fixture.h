// Small vocabularies built in memory, for tests and fuzz targets only (header-only for that reason).
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "format/gguf_writer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace thimble {

struct VocabularyFixture {
  std::string model = "llama";
  std::string pre;  // byte-level only
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> kinds;
  std::vector<std::string> merges;

  void add(const std::string& text, TokenKind kind = TokenKind::normal, float score = 0.0F) {
    if (std::find(tokens.begin(), tokens.end(), text) != tokens.end()) return;
    tokens.push_back(text);
    scores.push_back(score);
    kinds.push_back(static_cast<int32_t>(kind));
  }

  GgufMetadata metadata() const {
    GgufMetadata result;
    result.set_string("tokenizer.ggml.model", model);
    if (!pre.empty()) result.set_string("tokenizer.ggml.pre", pre);
    result.set_strings("tokenizer.ggml.tokens", tokens);
    result.set_int32s("tokenizer.ggml.token_type", kinds);
    if (model == "llama") {
      result.set_floats("tokenizer.ggml.scores", scores);
    } else {
      result.set_strings("tokenizer.ggml.merges", merges);
    }
    return result;
  }
};

/// <unk>, <s>, </s>, <|im_start|>, <|im_end|>, the byte tokens, and runs of one letter or space up to 16 long.
inline VocabularyFixture sentencepiece_fixture() {
  VocabularyFixture fixture;
  fixture.add("<unk>", TokenKind::unknown);
  for (const char* text : {"<s>", "</s>", "<|im_start|>", "<|im_end|>"}) fixture.add(text, TokenKind::control);
  for (int byte = 0; byte < 256; ++byte) fixture.add(fmt::format("<0x{:02X}>", byte), TokenKind::byte);
  float score = -1.0F;
  for (const char* unit : {"\xE2\x96\x81", "a", "b", "e", "\xC3\xA9", "\xE4\xBD\xA0"}) {
    std::string text;
    for (int length = 1; length <= 16; ++length) {
      text += unit;
      fixture.add(text, TokenKind::normal, score--);
    }
  }
  for (const char* text : {"ab",
                           "\xE2\x96\x81"
                           "a",
                           "\xE2\x96\x81"
                           "ab",
                           "\xE2\x96\x81"
                           "abe",
                           "be"}) {
    fixture.add(text, TokenKind::normal, score--);
  }
  return fixture;
}

/// The 256 byte characters, runs of spaces and letters by merging, <|im_start|>, <|im_end|> and <|endoftext|>.
inline VocabularyFixture byte_level_fixture(const std::string& pre) {
  VocabularyFixture fixture;
  fixture.model = "gpt2";
  fixture.pre = pre;
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    append_utf8(text, byte_to_character(static_cast<uint8_t>(byte)));
    fixture.add(text);
  }
  const auto merge = [&](const std::string& left, const std::string& right) {
    fixture.add(left + right);
    fixture.merges.push_back(left + " " + right);
  };
  for (const uint8_t byte : {' ', 'a', '1', '\n', '!'}) {
    std::string text;
    append_utf8(text, byte_to_character(byte));
    for (int doublings = 0; doublings < 4; ++doublings) {
      merge(text, text);
      text += text;
    }
  }
  merge("a", "b");
  merge("\xC4\xA0", "ab");  // U+0120 spells the space
  for (const char* text : {"<|im_start|>", "<|im_end|>", "<|endoftext|>"}) fixture.add(text, TokenKind::control);
  return fixture;
}

/// The tokenizer of a GGUF image that holds `metadata` alone. Errors: as Tokenizer.
inline Tokenizer tokenizer_from(const GgufMetadata& metadata) {
  const std::vector<std::byte> image = gguf_header(metadata, {});
  return Tokenizer(GgufFile::parse(image, "test.gguf"));
}

}  // namespace thimble
