// Tokenizers of the GGUF ecosystem: SentencePiece BPE ("llama") and byte-level BPE ("gpt2"), read from GGUF metadata.
// A Tokenizer is immutable after construction and may be shared by threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace thimble {

using TokenId = int32_t;
constexpr TokenId kNoToken = -1;

/// How control and added tokens spelled in the text are treated.
enum class SpecialTokens {
  as_text,  // "<|im_end|>" typed by a user is eight ordinary characters: the safe default
  parse,    // recognised as the control token: for text that a chat template produced
};

class TokenizerModel;  // algorithm behind the interface: SentencePiece or byte-level BPE

class Tokenizer {
 public:
  /// Errors: corrupt (missing or contradicting vocabulary keys), unsupported (model or pre-tokenizer, named).
  explicit Tokenizer(const GgufFile& gguf);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  int32_t n_vocab() const noexcept;

  /// Token ids of `text` (any bytes; invalid UTF-8 goes through byte tokens), without BOS or EOS.
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const;

  /// As encode(), with BOS before and EOS after where the vocabulary asks for them.
  std::vector<TokenId> encode_prompt(std::string_view text, SpecialTokens special) const;

  /// Bytes of one token as they appear in the text: possibly part of a UTF-8 sequence; control tokens are empty unless
  /// `show_control`. SentencePiece's leading-space marker is a space here; Decoder drops the very first one.
  std::string_view piece(TokenId id, bool show_control = false) const noexcept;

  /// Text of a whole sequence; invalid UTF-8 from broken sequences becomes U+FFFD.
  std::string decode(const std::vector<TokenId>& ids, bool show_control = false) const;

  TokenId bos() const noexcept;  // kNoToken when the vocabulary has none
  TokenId eos() const noexcept;
  bool adds_bos() const noexcept;
  bool adds_eos() const noexcept;
  bool is_control(TokenId id) const noexcept;
  /// True for every token that ends a turn: EOS, EOT, <|im_end|>, <|eot_id|>, <end_of_turn>, … of this vocabulary.
  bool is_end_of_generation(TokenId id) const noexcept;
  /// Id of the token spelled exactly `text` in the vocabulary, or kNoToken.
  TokenId find(std::string_view text) const noexcept;
  /// True when decode() must drop one leading space (SentencePiece with add_space_prefix).
  bool strips_leading_space() const noexcept;

  /// For the room text and its tests (text/tokenizer_model.h).
  const TokenizerModel& model() const noexcept { return *model_; }

 private:
  std::unique_ptr<TokenizerModel> model_;
};

/// Turns tokens into text one at a time and only ever emits whole UTF-8 sequences.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool show_control = false) noexcept
      : tokenizer_(&tokenizer), show_control_(show_control), at_start_(tokenizer.strips_leading_space()) {}

  /// Text that became complete with `id`; may be empty.
  std::string push(TokenId id);
  /// What is left at the end; an unfinished sequence becomes U+FFFD.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool show_control_;
  bool at_start_;
  std::string pending_;
};

}  // namespace thimble
