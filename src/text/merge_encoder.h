// The two merging algorithms behind Tokenizer. Both keep the symbols of one stretch of text in a linked list and the
// possible merges in a heap, so that a stretch of n characters costs O(n log n) whatever it holds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "text/pre_tokenizer.h"
#include "text/vocabulary.h"

namespace thimble {

/// Turns ordinary text into token ids; special tokens were cut out before.
class MergeEncoder {
 public:
  virtual ~MergeEncoder() = default;
  /// Appends the ids of `text` (less than 2^31 bytes). `work` grows by the number of steps taken.
  virtual void encode(std::string_view text, std::vector<TokenId>& ids, uint64_t& work) const = 0;
};

/// SentencePiece BPE: joins the neighbours whose union is the token with the highest score.
class SentencePieceEncoder : public MergeEncoder {
 public:
  explicit SentencePieceEncoder(const Vocabulary& vocabulary);  // kept by reference
  void encode(std::string_view text, std::vector<TokenId>& ids, uint64_t& work) const override;

 private:
  struct Symbol;
  struct Merge;
  struct Scratch;
  TokenId find(std::string_view text) const noexcept;
  void remember_pairs(std::string_view token);
  void add_merge(std::string_view text, Scratch& scratch, int32_t left, int32_t right) const;
  void encode_segment(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids, uint64_t& work) const;
  void emit(std::string_view text, TokenId id, std::vector<TokenId>& ids) const;

  const Vocabulary& vocabulary_;
  std::vector<uint8_t> has_length_;  // by byte length: 1 when a token has it; spares hashing and bounds hostile tokens
  std::vector<uint64_t> pairs_;      // bits by hash of two neighbouring characters: set when some token holds them
  TokenId byte_tokens_[256];
};

/// Byte-level BPE: pre-tokenizer, then joins the neighbours with the lowest merge rank.
class ByteLevelEncoder : public MergeEncoder {
 public:
  /// Errors: corrupt, naming tokenizer.ggml.merges and the index.
  ByteLevelEncoder(const GgufFile& gguf, const Vocabulary& vocabulary);  // the vocabulary is kept by reference
  void encode(std::string_view text, std::vector<TokenId>& ids, uint64_t& work) const override;

 private:
  struct Node {
    uint32_t symbol;
    int32_t previous;
    int32_t next;
  };
  struct Join {
    uint32_t rank;
    int32_t left;
    uint32_t left_symbol;
    uint32_t right_symbol;
    uint32_t result;
  };
  struct Scratch {
    SplitScratch split;
    std::vector<Node> nodes;
    std::vector<Join> heap;
    std::string spelled;
  };
  // Merges grouped by left symbol and sorted by right symbol: lookups are a binary search without hashing, so no file
  // can choose colliding keys.
  struct Rule {
    uint32_t right;
    uint32_t rank;
    uint32_t result;
  };
  struct RawRule {
    uint32_t left;
    Rule rule;
  };

  void read_rules(const GgufFile& gguf);
  void index_rules(std::vector<RawRule> rules, uint32_t n_symbols);
  const Rule* find_rule(uint32_t left, uint32_t right) const noexcept;
  void encode_word(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids, uint64_t& work) const;
  void add_join(Scratch& scratch, int32_t left, uint64_t& work) const;
  void emit(uint32_t symbol, std::string_view bytes, std::vector<TokenId>& ids) const;

  const Vocabulary& vocabulary_;
  std::vector<uint32_t> rule_begin_;  // per symbol, and one past the last
  std::vector<Rule> rules_;
  uint32_t byte_symbols_[256];  // symbol ids below the vocabulary's size are token ids
  TokenId byte_tokens_[256];    // kNoToken where the vocabulary lacks the byte
  size_t max_spelling_ = 0;     // longest token text in bytes
};

}  // namespace thimble
