// The stemmer that ROUGE is computed with: Porter (1980), "An algorithm for suffix stripping", with the extensions of
// NLTK's PorterStemmer (its default mode), because google-research's rouge_score uses that one.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

/// Stem of one lower-case word of letters a-z and digits.
std::string porter_stem(std::string_view word);

}  // namespace thimble
