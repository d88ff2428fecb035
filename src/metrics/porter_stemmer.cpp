#include "metrics/porter_stemmer.h"

#include <algorithm>
#include <span>
#include <utility>

namespace thimble {

namespace {

bool is_vowel_letter(char c) noexcept {
  return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
}

// y is a consonant at the start and after a vowel.
bool is_consonant(std::string_view word, size_t i) noexcept {
  bool consonant = true;  // of the letter before a run of y
  size_t start = i;
  while (start > 0 && word[start] == 'y') --start;
  consonant = word[start] == 'y' || !is_vowel_letter(word[start]);
  for (size_t k = start; k < i; ++k) consonant = !consonant;
  return consonant;
}

// Porter's m: how many times a vowel is followed by a consonant.
int measure(std::string_view stem) noexcept {
  int m = 0;
  for (size_t i = 1; i < stem.size(); ++i) m += is_consonant(stem, i) && !is_consonant(stem, i - 1) ? 1 : 0;
  return m;
}

bool contains_vowel(std::string_view stem) noexcept {
  for (size_t i = 0; i < stem.size(); ++i) {
    if (!is_consonant(stem, i)) return true;
  }
  return false;
}

bool ends_double_consonant(std::string_view word) noexcept {
  const size_t n = word.size();
  return n >= 2 && word[n - 1] == word[n - 2] && is_consonant(word, n - 1);
}

// Consonant, vowel, consonant other than w, x, y; or a word of a vowel and a consonant (NLTK).
bool ends_cvc(std::string_view word) noexcept {
  const size_t n = word.size();
  if (n == 2) return !is_consonant(word, 0) && is_consonant(word, 1);
  if (n < 3) return false;
  const char last = word[n - 1];
  return is_consonant(word, n - 3) && !is_consonant(word, n - 2) && is_consonant(word, n - 1) && last != 'w' &&
         last != 'x' && last != 'y';
}

std::string_view without(std::string_view word, std::string_view suffix) noexcept {
  return word.substr(0, word.size() - suffix.size());
}

struct SuffixRule {
  std::string_view suffix;
  std::string_view replacement;
};

// The first rule whose suffix fits decides: its replacement when the stem's measure is above `m`, else the word.
std::string replace_suffix(std::string_view word, std::span<const SuffixRule> rules, int m) {
  for (const SuffixRule& rule : rules) {
    if (!word.ends_with(rule.suffix)) continue;
    const std::string_view stem = without(word, rule.suffix);
    if (measure(stem) <= m) break;
    return std::string(stem) + std::string(rule.replacement);
  }
  return std::string(word);
}

std::string plural(std::string_view word) {
  if (word.ends_with("ies") && word.size() == 4) return std::string(without(word, "s"));
  if (word.ends_with("sses") || word.ends_with("ies")) return std::string(without(word, "es"));
  if (word.ends_with("ss") || !word.ends_with("s")) return std::string(word);
  return std::string(without(word, "s"));
}

std::string past_and_gerund(std::string_view word) {
  if (word.ends_with("ied")) return std::string(without(word, word.size() == 4 ? "d" : "ed"));
  if (word.ends_with("eed")) return std::string(measure(without(word, "eed")) > 0 ? without(word, "d") : word);
  std::string stem;
  for (const std::string_view suffix : {"ed", "ing"}) {
    if (!word.ends_with(suffix) || !contains_vowel(without(word, suffix))) continue;
    stem = without(word, suffix);
    break;
  }
  if (stem.empty()) return std::string(word);
  if (stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz")) return stem + "e";
  if (ends_double_consonant(stem)) {
    const char last = stem.back();
    if (last != 'l' && last != 's' && last != 'z') stem.pop_back();
    return stem;
  }
  return measure(stem) == 1 && ends_cvc(stem) ? stem + "e" : stem;
}

std::string final_y(std::string_view word) {
  if (!word.ends_with("y")) return std::string(word);
  const std::string_view stem = without(word, "y");
  return stem.size() > 1 && is_consonant(stem, stem.size() - 1) ? std::string(stem) + "i" : std::string(word);
}

constexpr SuffixRule kDoubleSuffixes[] = {
    {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
    {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
    {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
    {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
    {"fulli", "ful"}};

std::string double_suffix(std::string_view word) {
  if (word.ends_with("alli") && measure(without(word, "alli")) > 0) return double_suffix(without(word, "li"));
  // The measure is that of the word without "ogi", which keeps the l of "logi".
  if (word.ends_with("logi")) return std::string(measure(without(word, "ogi")) > 0 ? without(word, "i") : word);
  return replace_suffix(word, kDoubleSuffixes, 0);
}

constexpr SuffixRule kAdjectives[] = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
                                      {"ical", "ic"},  {"ful", ""},   {"ness", ""}};

constexpr SuffixRule kEndings[] = {{"al", ""},   {"ance", ""}, {"ence", ""},  {"er", ""},   {"ic", ""}, {"able", ""},
                                   {"ible", ""}, {"ant", ""},  {"ement", ""}, {"ment", ""}, {"ent", ""}};
constexpr SuffixRule kMoreEndings[] = {{"ou", ""},  {"ism", ""}, {"ate", ""}, {"iti", ""},
                                       {"ous", ""}, {"ive", ""}, {"ize", ""}};

std::string ending(std::string_view word) {
  const auto fits = [&](const SuffixRule& rule) { return word.ends_with(rule.suffix); };
  if (std::any_of(std::begin(kEndings), std::end(kEndings), fits)) return replace_suffix(word, kEndings, 1);
  if (word.ends_with("ion")) {
    const std::string_view stem = without(word, "ion");
    const bool falls = measure(stem) > 1 && (stem.back() == 's' || stem.back() == 't');
    return std::string(falls ? stem : word);
  }
  return replace_suffix(word, kMoreEndings, 1);
}

std::string final_e(std::string_view word) {
  if (!word.ends_with("e")) return std::string(word);
  const std::string_view stem = without(word, "e");
  const int m = measure(stem);
  return std::string(m > 1 || (m == 1 && !ends_cvc(stem)) ? stem : word);
}

std::string final_double_l(std::string_view word) {
  return std::string(word.ends_with("ll") && measure(without(word, "l")) > 1 ? without(word, "l") : word);
}

constexpr std::pair<std::string_view, std::string_view> kIrregular[] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"}};

}  // namespace

std::string porter_stem(std::string_view word) {
  for (const auto& [form, stem] : kIrregular) {
    if (word == form) return std::string(stem);
  }
  if (word.size() <= 2) return std::string(word);
  std::string stem = plural(word);
  stem = past_and_gerund(stem);
  stem = final_y(stem);
  stem = double_suffix(stem);
  stem = replace_suffix(stem, kAdjectives, 0);
  stem = ending(stem);
  stem = final_e(stem);
  return final_double_l(stem);
}

}  // namespace thimble
