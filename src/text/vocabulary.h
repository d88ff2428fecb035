// The vocabulary of a tokenizer as read from GGUF metadata: token texts, kinds, scores, the bytes each token stands
// for, the ids with a role and the flags. A file is hostile until this has read it; afterwards every id is in range.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "format/gguf.h"
#include "format/token_kind.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace thimble {

enum class VocabularyModel { sentencepiece, byte_level };  // tokenizer.ggml.model "llama" and "gpt2"

/// Strings one after the other in one block; views into it stay valid when the object moves.
class StringTable {
 public:
  void add(std::string_view text);
  void reserve(size_t count) { ends_.reserve(count); }
  size_t size() const noexcept { return ends_.size(); }
  std::string_view operator[](size_t i) const noexcept;

 private:
  std::vector<char> bytes_;
  std::vector<size_t> ends_;
};

struct Vocabulary {
  std::string source;  // file, for messages
  VocabularyModel model = VocabularyModel::sentencepiece;
  PreTokenizer pre = PreTokenizer::fallback;
  StringTable texts;   // as spelled in the vocabulary
  StringTable pieces;  // the bytes a token stands for
  std::vector<TokenKind> kinds;
  std::vector<float> scores;                          // empty for byte_level
  std::vector<uint8_t> ends_generation;               // per token, 0 or 1
  std::unordered_map<std::string_view, TokenId> ids;  // text to id; views into `texts`
  TokenId bos = kNoToken;
  TokenId eos = kNoToken;
  TokenId eot = kNoToken;
  TokenId eom = kNoToken;
  TokenId unknown = kNoToken;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;
  bool ignore_merges = false;
  bool strips_after_special = false;  // phi-3: white space after a special token is dropped

  int32_t size() const noexcept { return static_cast<int32_t>(kinds.size()); }
  bool contains(TokenId id) const noexcept { return id >= 0 && id < size(); }
  TokenKind kind(TokenId id) const noexcept { return kinds[static_cast<size_t>(id)]; }
  std::string_view text(TokenId id) const noexcept { return texts[static_cast<size_t>(id)]; }
  TokenId find(std::string_view text) const noexcept;
  /// As find(), but never a token that plain text must not produce: control, unknown and byte tokens.
  TokenId find_ordinary(std::string_view text) const noexcept;
  bool is_ordinary(TokenId id) const noexcept;
};

/// Errors: corrupt naming the key and, for arrays, the index; unsupported for an unknown model or pre-tokenizer.
Vocabulary read_vocabulary(const GgufFile& gguf);

/// The Unicode character by which byte-level BPE spells a byte (GPT-2's bytes_to_unicode).
uint32_t byte_to_character(uint8_t byte) noexcept;

/// Text of a byte token such as "<0x0A>" as its value 0..255, or -1 when it is malformed.
int parse_byte_token(std::string_view text) noexcept;

}  // namespace thimble
