// Each known pre-tokenizer is a list of steps; a document's steps are written in the same short form and compared.
#include "format/hf_pre_tokenizer.h"

#include <array>
#include <string_view>

#include "base/error.h"

namespace thimble {

namespace {

// The regular expressions are the ones in the published tokenizer.json files of Meta-Llama-3-8B, Qwen2-7B,
// deepseek-llm-7b-base, deepseek-coder-6.7b-base and falcon-7b.
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kNewline = "[\r\n]";
constexpr std::string_view kIdeographs = "[一-龥ࠀ-一가-퟿]+";
constexpr std::string_view kDeepseekPunctuation = R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)";
// deepseek-llm's class of letters is 150 ranges long and differs between copies in how three range ends are
// normalized; this much of it occurs nowhere else.
constexpr std::string_view kDeepseekLetters = R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿ)";

// One step in short form: "split REGEX", "digits", "digit" (one at a time), "punctuation", "gpt2" (byte level with its
// regular expression), "bytes" (byte level without).
using Steps = std::vector<std::string>;

std::string shorten(const JsonObject& step) {
  std::string type = step.string("type");
  if (type == "ByteLevel") {
    if (step.boolean("add_prefix_space", true)) return "byte level that adds a space";
    return step.boolean("use_regex", true) ? "gpt2" : "bytes";
  }
  if (type == "Digits") return step.boolean("individual_digits", false) ? "digit" : "digits";
  if (type == "Punctuation" && step.string("behavior", "Isolated") == "Contiguous") return "punctuation";
  if (type == "Split") {
    const JsonObject pattern(step.at("pattern"), step.source() + ": key 'pattern'");
    const std::string behavior = step.string("behavior");
    if (pattern.has("Regex") && behavior == "Isolated" && !step.boolean("invert", false)) {
      return "split " + pattern.string("Regex");
    }
    return fmt::format("Split ({})", behavior);
  }
  return type;
}

Steps shorten_all(const Json& pre_tokenizer, const std::string& source) {
  Steps steps;
  const std::string where = source + ": key 'pre_tokenizer'";
  if (pre_tokenizer.is_null()) return steps;
  const JsonObject root(pre_tokenizer, where);
  if (root.string("type") != "Sequence") return {shorten(root)};
  const Json& list = root.at("pretokenizers");
  if (!list.is_array()) {
    fail(ErrorCode::corrupt, "{}: key 'pretokenizers': found {}, expected an array", where, describe_json(list));
  }
  for (const Json& step : list) steps.push_back(shorten(JsonObject(step, where)));
  return steps;
}

// "none", "NFC" or the type of something else.
std::string shorten_normalizer(const Json* normalizer, const std::string& source) {
  if (normalizer == nullptr || normalizer->is_null()) return "none";
  const JsonObject root(*normalizer, source + ": key 'normalizer'");
  std::string type = root.string("type");
  if (type != "Sequence") return type;
  const Json& list = root.at("normalizers");
  if (list.is_array() && list.empty()) return "none";
  if (list.is_array() && list.size() == 1) return shorten_normalizer(&list.front(), source);
  return "Sequence";
}

std::string split(std::string_view regex) {
  return "split " + std::string(regex);
}

bool is_deepseek_llm(const Steps& s) {
  return s.size() == 7 && s[0] == split(kNewline) && s[1].starts_with(split(kDeepseekLetters)) &&
         s[2] == split(kDeepseekPunctuation) && s[3] == split(R"(\s+$)") && s[4] == split(kIdeographs) &&
         s[5] == "digit" && s[6] == "bytes";
}

// llama.cpp's name, or empty.
std::string name_of(const Steps& steps, bool nfc, const PreTokenizerContext& context) {
  if (steps == Steps{split(kLlama3), "bytes"} && context.ignores_merges && !nfc) return "llama-bpe";
  if (steps == Steps{split(kQwen2), "bytes"}) return "qwen2";
  // GPT-2 and MPT (GPT-NeoX) cut the same way; NFC is how the vocabularies are told apart.
  if (steps == Steps{"gpt2"}) return nfc ? "mpt" : "gpt-2";
  // One digit at a time, then GPT-2's rules: SmolLM, StarCoder and Refact cut the same way.
  if (steps == Steps{"digit", "gpt2"} && !nfc) return context.has_fim_tokens ? "starcoder" : "smollm";
  if (steps == Steps{"punctuation", "gpt2", "digits", split("[0-9][0-9][0-9]")} && !nfc) return "falcon";
  if (steps ==
          Steps{split(kNewline), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"), split(kIdeographs), "digit", "bytes"} &&
      !nfc) {
    return "deepseek-coder";
  }
  return is_deepseek_llm(steps) && !nfc ? "deepseek-llm" : "";
}

}  // namespace

std::string recognise_pre_tokenizer(const Json& pre_tokenizer, const PreTokenizerContext& context,
                                    const std::string& source) {
  const Steps steps = shorten_all(pre_tokenizer, source);
  const std::string normalizer = shorten_normalizer(context.normalizer, source);
  const bool known_normalizer = normalizer == "none" || normalizer == "NFC";
  std::string name = known_normalizer ? name_of(steps, normalizer == "NFC", context) : "";
  if (!name.empty()) return name;
  std::string found = steps.empty() ? "nothing" : fmt::format("{}", fmt::join(steps, ", then "));
  if (found.size() > 600) found = found.substr(0, 600) + "…";
  fail(ErrorCode::unsupported,
       "{}: key 'pre_tokenizer': found {} (normalizer: {}, merges {}), expected the one of llama-bpe, qwen2, gpt-2, "
       "mpt, smollm, starcoder, refact, falcon, deepseek-llm or deepseek-coder",
       source, found, normalizer, context.ignores_merges ? "ignored for whole words" : "always followed");
}

}  // namespace thimble
