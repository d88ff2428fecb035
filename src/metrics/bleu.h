// BLEU (Papineni et al. 2002) as sacreBLEU computes it (Post 2018): tokenizers 13a, intl and zh, n-grams up to 4,
// exponential smoothing. The counts of one sentence add up to those of a corpus.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

enum class BleuTokenizer {
  thirteen_a,     // "13a": mteval-v13a, for texts with spaces between words
  international,  // "intl": mteval-v14, separates all Unicode punctuation and symbols
  chinese,        // "zh": as 13a, with every Chinese character a word
};

/// The words BLEU counts.
std::vector<std::u32string> bleu_tokens(std::string_view text, BleuTokenizer tokenizer);

struct BleuCounts {
  static constexpr size_t kMaxOrder = 4;
  std::array<int64_t, kMaxOrder> matches{};     // n-grams of the hypothesis in a reference, clipped
  std::array<int64_t, kMaxOrder> hypothesis{};  // n-grams of the hypothesis
  int64_t hypothesis_length = 0;                // words
  int64_t reference_length = 0;                 // of the reference closest in length
  BleuCounts& operator+=(const BleuCounts& other) noexcept;
};

BleuCounts bleu_counts(std::string_view hypothesis, std::span<const std::string> references, BleuTokenizer tokenizer);

/// `effective` averages over the orders that the hypothesis is long enough for: for sentences. `corpus` over all four.
enum class BleuOrder { effective, corpus };

/// 0..100.
double bleu(const BleuCounts& counts, BleuOrder order) noexcept;

}  // namespace thimble
