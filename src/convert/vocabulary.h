// The vocabulary of a converted model: what becomes tokenizer.* metadata.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "convert/hf_folder.h"
#include "format/gguf_writer.h"

namespace thimble {

/// Not "Vocabulary": the room text has a type of that name, and one program holds both.
struct HfVocabulary {
  std::string model;  // "llama" (SentencePiece BPE) or "gpt2" (byte-level BPE)
  std::string pre;    // name of the pre-tokenizer
  std::vector<std::string> tokens;
  std::vector<float> scores;  // model "llama" only; higher merges first
  std::vector<TokenKind> kinds;
  std::vector<std::string> merges;  // model "gpt2" only: "left right", best first
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> unk;
  std::optional<int32_t> pad;
  std::optional<int32_t> eot;  // ends a turn of a chat
  bool add_bos = false;
  bool add_eos = false;
  std::optional<bool> add_space_prefix;
  std::vector<std::pair<std::string, std::string>> chat_templates;  // as in HfTokenizerConfig
};

/// Errors: corrupt (tokenizer larger than the embedding, special ids outside of it), unsupported (a SentencePiece
/// model that is not BPE).
HfVocabulary read_vocabulary(const HfFolder& folder);

/// Sets the tokenizer.* keys.
void write_vocabulary(const HfVocabulary& vocabulary, GgufMetadata& metadata);

}  // namespace thimble
