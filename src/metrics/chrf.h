// chrF (Popović 2015) and chrF++ (Popović 2017) as sacreBLEU computes them: n-grams of up to six characters without
// white space, with chrF++ also of up to two words, F with beta 2 of precision and recall averaged over the orders that
// both texts have. The counts of one text add up to those of a corpus.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace thimble {

enum class ChrfWords : uint8_t { none = 0, bigrams = 2 };  // chrF2, chrF2++

struct ChrfCounts {
  static constexpr size_t kCharacterOrders = 6;
  static constexpr size_t kMaxOrders = kCharacterOrders + 2;
  std::array<int64_t, kMaxOrders> hypothesis{}, reference{}, matches{};  // characters, then words
  ChrfCounts& operator+=(const ChrfCounts& other) noexcept;
};

/// Counts against the reference that scores best; none without references.
ChrfCounts chrf_counts(std::string_view hypothesis, std::span<const std::string> references, ChrfWords words);

/// 0..100.
double chrf(const ChrfCounts& counts) noexcept;

/// chrf() of the counts of one answer: chrF2 without words, chrF2++ with bigrams.
double chrf(std::string_view hypothesis, std::span<const std::string> references, ChrfWords words);

}  // namespace thimble
