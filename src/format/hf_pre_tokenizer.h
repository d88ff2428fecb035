// Recognises the pre-tokenizer of a byte-level BPE tokenizer.json by its structure and gives llama.cpp's name for it.
// llama.cpp's converter hashes the ids of a test text instead, which knows only the exact vocabularies it has seen.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace thimble {

/// What recognition looks at besides the pre-tokenizer itself.
struct PreTokenizerContext {
  const Json* normalizer = nullptr;  // null when the document has none
  bool ignores_merges = true;        // model.ignore_merges, true when missing
  bool has_fim_tokens = false;       // the vocabulary has <fim_prefix>
};

/// "llama-bpe", "qwen2", "gpt-2", "mpt", "smollm", "starcoder", "deepseek-llm", "deepseek-coder" or "falcon".
/// refact's structure and rules are starcoder's, and so is its name here.
/// Errors: unsupported, with what was found; corrupt when a step of it is malformed.
std::string recognise_pre_tokenizer(const Json& pre_tokenizer, const PreTokenizerContext& context,
                                    const std::string& source);

}  // namespace thimble
