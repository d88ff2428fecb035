// ROUGE as google-research's rouge_score computes it (Lin 2004, and ROUGE-1.5.5 to five digits): lower case, everything
// but a-z and 0-9 separates words, so texts in other scripts score 0. Use chrF for those.
#pragma once

#include <string_view>

namespace thimble {

struct RougeScore {
  double precision = 0, recall = 0, f = 0;  // 0..1
};

enum class Stemming { none, porter };

/// Overlap of runs of `n` words (n >= 1).
RougeScore rouge_n(std::string_view hypothesis, std::string_view reference, int n, Stemming stemming);

/// Longest common subsequence of words. Time: product of the lengths in words.
RougeScore rouge_l(std::string_view hypothesis, std::string_view reference, Stemming stemming);

/// ROUGE-L of summaries: lines are sentences, each reference sentence is matched with all of the hypothesis
/// (union of the common subsequences), and no word counts twice.
RougeScore rouge_lsum(std::string_view hypothesis, std::string_view reference, Stemming stemming);

}  // namespace thimble
