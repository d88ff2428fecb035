// Reads the architecture-prefixed hyperparameters of a GGUF ("llama.block_count") with their ranges.
// Ranges are wide enough for every published model and narrow enough that no product of two of them overflows 64 bits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "format/gguf.h"

namespace thimble {

class HyperparameterReader {
 public:
  HyperparameterReader(const GgufFile& gguf, std::string_view architecture)
      : gguf_(&gguf), architecture_(architecture) {}

  const GgufFile& gguf() const noexcept { return *gguf_; }
  /// "block_count" -> "llama.block_count".
  std::string key(std::string_view suffix) const;
  bool has(std::string_view suffix) const;

  /// Errors: corrupt (missing, wrong type, outside min..max), unsupported for an array (one value per layer).
  int64_t integer(std::string_view suffix, int64_t min, int64_t max) const;
  int64_t integer(std::string_view suffix, int64_t min, int64_t max, int64_t fallback) const;
  /// Errors: corrupt for NaN, infinities and values outside min..max.
  float number(std::string_view suffix, double min, double max) const;
  float number(std::string_view suffix, double min, double max, double fallback) const;
  std::string_view text(std::string_view suffix, std::string_view fallback) const;

 private:
  void refuse_array(std::string_view suffix) const;

  const GgufFile* gguf_;  // not owned
  std::string architecture_;
};

}  // namespace thimble
