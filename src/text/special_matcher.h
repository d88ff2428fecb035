// Finds special tokens spelled in a text: the longest token first, then the next longest in what is left, as
// llama.cpp's tokenizer_st_partition, but in O(n log n) whatever the vocabulary.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace thimble {

/// A special token at bytes [begin, end) of the text. White space up to `resume` is dropped with it when it `strips`.
struct SpecialMatch {
  size_t begin;
  size_t end;
  size_t resume;
  TokenId id;
  bool strips;
};

/// isspace() of the C locale.
inline bool is_ascii_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

class SpecialMatcher {
 public:
  struct Pattern {
    std::string_view text;  // not empty
    TokenId id;
    bool strips_after;
  };

  SpecialMatcher() = default;
  explicit SpecialMatcher(const std::vector<Pattern>& patterns);

  bool empty() const noexcept { return patterns_.empty(); }

  /// Matches in order of position, not overlapping. `work` grows by the number of steps taken.
  std::vector<SpecialMatch> find(std::string_view text, uint64_t& work) const;

 private:
  struct Entry {
    TokenId id;
    uint32_t length;
    int32_t shorter;  // index of the longest other pattern that this one begins with, or -1
    bool strips_after;
  };
  struct Node {
    uint32_t fail;
    int32_t pattern;  // longest pattern that begins at the byte this state was reached with, or -1
  };

  uint32_t child(uint32_t node, uint8_t byte) const noexcept;
  uint32_t step(uint32_t node, uint8_t byte, uint64_t& work) const noexcept;
  void link();

  std::vector<Entry> patterns_;
  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, uint32_t> children_;  // node << 8 | byte
  std::vector<uint32_t> root_children_;              // 256 entries, 0: none
};

}  // namespace thimble
