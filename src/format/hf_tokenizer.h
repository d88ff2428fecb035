// tokenizer.json (BPE models of the tokenizers library) and tokenizer_config.json of a Hugging Face folder.
// Format: https://huggingface.co/docs/tokenizers. Byte-level BPE (GPT-2's family) and SentencePiece-style BPE with byte
// fallback (Llama 2, Mistral) share it; hf_pre_tokenizer.h tells the pre-tokenizers apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace thimble {

struct HfAddedToken {
  int32_t id = 0;
  std::string text;
  bool special = false;
};

struct HfTokenizer {
  /// How a merge or vocabulary entry is spelled.
  enum class Style { byte_level, sentencepiece };

  Style style = Style::byte_level;
  std::vector<std::string> tokens;                          // by id; empty where `added` (or nothing) has the id
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  std::vector<HfAddedToken> added;                          // in order of id
  std::string pre_tokenizer;      // GGUF's name, "llama-bpe"; "default" for SentencePiece style
  bool add_space_prefix = false;  // SentencePiece style: a space is put before the text
  std::optional<std::string> unk_token;
  std::optional<std::string> template_first;  // special token that the post-processor puts before a text
  std::optional<std::string> template_last;   // and after it
  bool has_template = false;                  // there is such a post-processor

  /// `source` names the document in errors. Errors: corrupt (missing or contradicting entries, ids given twice),
  /// unsupported (model other than BPE, pre-tokenizer or normalizer that is not known; each named).
  static HfTokenizer parse(std::string_view text, const std::string& source);

  /// Errors: as read_file (limit 256 MiB) and parse().
  static HfTokenizer open(const std::string& path);

  /// Id of a token of either list, or nothing.
  std::optional<int32_t> find(std::string_view text) const;
};

struct HfTokenizerConfig {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> unk_token;
  std::optional<std::string> pad_token;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_prefix_space;
  std::vector<HfAddedToken> added;  // added_tokens_decoder, in order of id
  /// Name and Jinja text; the name is empty for the default template.
  std::vector<std::pair<std::string, std::string>> chat_templates;

  /// Errors: corrupt.
  static HfTokenizerConfig parse(std::string_view text, const std::string& source);
};

}  // namespace thimble
