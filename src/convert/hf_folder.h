// A Hugging Face folder as it is read for conversion: configuration, tokenizer files and mapped weights.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "format/hf_config.h"
#include "format/hf_tokenizer.h"
#include "format/safetensors.h"
#include "format/sentencepiece_model.h"

namespace thimble {

struct HfFolder {
  std::string path;
  std::string name;  // of the model, from the folder
  HfConfig config;
  HfGenerationConfig generation;                // empty when there is no generation_config.json
  HfTokenizerConfig tokenizer_config;           // empty when there is no tokenizer_config.json
  std::vector<HfAddedToken> added_tokens_json;  // added_tokens.json of older folders, in order of id
  // Exactly one of the two: tokenizer.model wins, as in llama.cpp, because it alone has the pieces' true scores.
  std::optional<SentencePieceModel> sentencepiece;
  std::optional<HfTokenizer> tokenizer;
  std::string tokenizer_path;  // of that one, for messages
  SafetensorsFile weights;

  /// Reads all but the weights' data. Errors: not_found, corrupt, unsupported, io: as the readers of the files.
  static HfFolder open(const std::string& path);
};

}  // namespace thimble
