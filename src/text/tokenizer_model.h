// What a Tokenizer owns, visible to this room and its tests: the vocabulary, the matchers of special tokens and the
// merging algorithm, and a count of the work an encode took (tests compare it for n and 2n instead of a clock).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/merge_encoder.h"
#include "text/special_matcher.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace thimble {

/// A stretch of a prompt with its own treatment of special tokens.
struct TextSpan {
  std::string_view text;
  SpecialTokens special;
};

class TokenizerModel {
 public:
  /// Errors: as Tokenizer.
  explicit TokenizerModel(const GgufFile& gguf);
  TokenizerModel(const TokenizerModel&) = delete;  // the encoder refers to the vocabulary
  TokenizerModel& operator=(const TokenizerModel&) = delete;

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

  /// Encodes spans as one text: neighbouring ordinary stretches are joined before they are tokenized. `work` grows by
  /// the number of steps taken. Errors: invalid_argument for more than 1 GiB of text.
  std::vector<TokenId> encode(const std::vector<TextSpan>& spans, uint64_t& work) const;

 private:
  void flush(std::string& ordinary, bool& after_special, std::vector<TokenId>& ids, uint64_t& work) const;

  Vocabulary vocabulary_;
  SpecialMatcher added_;    // user-defined tokens: found in every text
  SpecialMatcher special_;  // control and unknown tokens too
  std::unique_ptr<MergeEncoder> encoder_;
};

}  // namespace thimble
