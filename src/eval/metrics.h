// Text metrics, each a pure function of hypothesis and references over Unicode code points.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

/// chrF2 in percent (character n-grams 1..6, beta 2, whitespace removed, effective order), best over the references.
/// Popović 2015; as sacreBLEU computes it.
double chrf2(std::string_view hypothesis, std::span<const std::string> references);

/// 1 - Levenshtein / longer length over code points, best over the references, in 0..1. Two empty strings give 1.
double edit_similarity(std::string_view hypothesis, std::span<const std::string> references);

/// Comparison that ignores case, runs of whitespace and one final full stop: 1 or 0, best over the references.
double exact_match(std::string_view hypothesis, std::span<const std::string> references);

/// Share of facts of which at least one alternative occurs in the hypothesis (case and whitespace ignored), in 0..1.
/// No facts give 1.
double fact_recall(std::string_view hypothesis, std::span<const std::vector<std::string>> facts);

}  // namespace thimble
