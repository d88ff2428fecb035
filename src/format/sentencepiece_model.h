// SentencePiece model files (tokenizer.model): the pieces, and the few settings that matter to a GGUF vocabulary.
// Layout: protocol buffers, message ModelProto of sentencepiece_model.proto (github.com/google/sentencepiece). Four
// wire types of the format are all that is needed, so there is no protobuf dependency.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/token_kind.h"

namespace thimble {

struct SentencePieceModel {
  enum class Type : int32_t { unigram = 1, bpe = 2, word = 3, character = 4 };

  struct Piece {
    std::string text;
    float score = 0.0f;
    TokenKind kind = TokenKind::normal;
  };

  std::vector<Piece> pieces;  // index is the token id
  Type type = Type::unigram;
  int32_t unk_id = 0;
  int32_t bos_id = 1;   // -1: none
  int32_t eos_id = 2;   // -1: none
  int32_t pad_id = -1;  // -1: none
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::string normalizer_name;

  /// `source` names the bytes in errors. Errors: corrupt (wire format, text that is not UTF-8, duplicate or malformed
  /// pieces, no pieces).
  static SentencePieceModel parse(std::span<const std::byte> bytes, const std::string& source);

  /// Errors: as read_file (limit 64 MiB) and parse().
  static SentencePieceModel open(const std::string& path);
};

/// "unigram", "bpe", "word" or "char".
std::string_view sentencepiece_type_name(SentencePieceModel::Type type) noexcept;

}  // namespace thimble
