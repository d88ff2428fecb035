#include "convert/special_tokens.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"

namespace thimble {

namespace {

// Spellings that end a turn in the chat formats of the supported families, as llama.cpp's loader knows them.
constexpr std::array<std::string_view, 6> kEndOfTurn = {"<|eot_id|>", "<|im_end|>",    "<|end|>",
                                                        "<EOT>",      "<end_of_turn>", "<|endofturn|>"};

std::optional<int32_t> find_token(const HfVocabulary& vocabulary, std::string_view text) {
  const auto it = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), text);
  if (it == vocabulary.tokens.end()) return std::nullopt;
  return static_cast<int32_t>(it - vocabulary.tokens.begin());
}

std::optional<int32_t> checked_id(std::optional<int64_t> id, std::string_view key, const HfFolder& folder) {
  if (!id || *id < 0) return std::nullopt;
  if (*id >= folder.config.n_vocab) {
    fail(ErrorCode::corrupt, "{}/config.json: key '{}': found {}, expected less than vocab_size {}", folder.path, key,
         *id, folder.config.n_vocab);
  }
  return static_cast<int32_t>(*id);
}

// The token tokenizer_config.json spells out, when the vocabulary has it.
std::optional<int32_t> spelled(const HfVocabulary& vocabulary, const std::optional<std::string>& text) {
  return text ? find_token(vocabulary, *text) : std::nullopt;
}

// The end of a turn: a known spelling among the ids that end generation, or else the first that is not EOS.
std::optional<int32_t> end_of_turn(const HfFolder& folder, const HfVocabulary& vocabulary) {
  std::vector<int64_t> ids = folder.generation.eos_ids;
  ids.insert(ids.end(), folder.config.eos_ids.begin(), folder.config.eos_ids.end());
  for (const std::string_view text : kEndOfTurn) {
    const auto id = find_token(vocabulary, text);
    if (id && std::find(ids.begin(), ids.end(), *id) != ids.end()) return id;
  }
  for (const int64_t id : ids) {
    if (id != vocabulary.eos && id < folder.config.n_vocab) return static_cast<int32_t>(id);
  }
  return std::nullopt;
}

}  // namespace

void assign_special_tokens(const HfFolder& folder, HfVocabulary& vocabulary) {
  const HfTokenizerConfig& config = folder.tokenizer_config;
  const bool llama = vocabulary.model == "llama";
  const std::vector<int64_t>& config_eos =
      folder.config.eos_ids.empty() ? folder.generation.eos_ids : folder.config.eos_ids;

  vocabulary.bos = spelled(vocabulary, config.bos_token);
  if (!vocabulary.bos) vocabulary.bos = checked_id(folder.config.bos_id, "bos_token_id", folder);
  vocabulary.eos = spelled(vocabulary, config.eos_token);
  if (!vocabulary.eos && !config_eos.empty()) vocabulary.eos = checked_id(config_eos.front(), "eos_token_id", folder);
  vocabulary.unk = spelled(vocabulary, config.unk_token);
  if (folder.sentencepiece) {
    const SentencePieceModel& model = *folder.sentencepiece;
    if (!vocabulary.bos) vocabulary.bos = checked_id(model.bos_id, "bos_token_id", folder);
    if (!vocabulary.eos) vocabulary.eos = checked_id(model.eos_id, "eos_token_id", folder);
    if (!vocabulary.unk) vocabulary.unk = checked_id(model.unk_id, "unk_token_id", folder);
  } else if (!vocabulary.unk) {
    vocabulary.unk = spelled(vocabulary, folder.tokenizer->unk_token);
  }
  vocabulary.pad = spelled(vocabulary, config.pad_token);
  // A padding id past the embedding is a common leftover of training; nothing here ever pads.
  if (!vocabulary.pad && folder.config.pad_id && *folder.config.pad_id < folder.config.n_vocab) {
    vocabulary.pad = static_cast<int32_t>(*folder.config.pad_id);
  }
  vocabulary.eot = end_of_turn(folder, vocabulary);

  // LlamaTokenizer and Llama 3 begin with BOS unless told otherwise; the others do not.
  vocabulary.add_bos = llama || vocabulary.pre == "llama-bpe";
  if (folder.tokenizer && folder.tokenizer->has_template) {
    const auto first = spelled(vocabulary, folder.tokenizer->template_first);
    const auto last = spelled(vocabulary, folder.tokenizer->template_last);
    vocabulary.add_bos = first && first == vocabulary.bos;
    vocabulary.add_eos = last && last == vocabulary.eos;
  }
  vocabulary.add_bos = config.add_bos_token.value_or(vocabulary.add_bos) && vocabulary.bos.has_value();
  vocabulary.add_eos = config.add_eos_token.value_or(vocabulary.add_eos) && vocabulary.eos.has_value();
}

}  // namespace thimble
