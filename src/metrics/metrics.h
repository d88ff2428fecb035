// Metrics of one answer by comparison of its text, each a pure function over Unicode code points. Those made of counts
// of n-grams have files of their own: chrf.h, bleu.h, rouge.h.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

/// 1 - Levenshtein / longer length over code points, best over the references, in 0..1. Two empty strings give 1.
double edit_similarity(std::string_view hypothesis, std::span<const std::string> references);

/// Comparison that ignores case, runs of whitespace and one final full stop: 1 or 0, best over the references.
double exact_match(std::string_view hypothesis, std::span<const std::string> references);

/// Share of facts of which at least one alternative occurs in the hypothesis, in 0..1. No facts give 1. Both texts are
/// compared by normalise_numbers(); a fact has to begin where a word begins (in scripts with spaces between words) and
/// must not be part of a longer number: "12" is neither in "112" nor in "12.5".
double fact_recall(std::string_view hypothesis, std::span<const std::vector<std::string>> facts);

/// Code points of the hypothesis per code point of the reference that is nearest in length, white space at the ends of
/// both left out. An empty reference counts as one code point.
double length_ratio(std::string_view hypothesis, std::span<const std::string> references);

}  // namespace thimble
