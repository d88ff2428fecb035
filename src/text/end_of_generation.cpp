// The rules and spellings are llama.cpp's (src/llama-vocab.cpp, v0.5.0): no file says which tokens end a turn.
#include "text/end_of_generation.h"

#include <array>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "text/vocabulary.h"

namespace thimble {

namespace {

constexpr auto kEndSpellings = std::to_array<std::string_view>({
    "<|eot_id|>",     // Llama 3
    "<|im_end|>",     // ChatML
    "<|end|>",        // Phi-3
    "<|return|>",     // o200k harmony
    "<|call|>",       // o200k harmony
    "<|flush|>",      // Solar
    "<|calls|>",      // Solar
    "<end_of_turn>",  // Gemma
    "<|endoftext|>",  // GPT-2
    "</s>",           // SentencePiece
    "<|eom_id|>",     // Llama 3.1 tool calls
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",  // DeepSeek
});

// Fill-in-the-middle separators end a generation too, by id or by spelling; the first known spelling counts.
struct Separator {
  std::string_view key;
  std::array<std::string_view, 5> spellings;
};

constexpr auto kSeparators = std::to_array<Separator>({
    {"tokenizer.ggml.fim_pad_token_id", {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"tokenizer.ggml.fim_rep_token_id", {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"tokenizer.ggml.fim_sep_token_id", {"<|file_sep|>", "", "", "", ""}},
});

void mark(Vocabulary& vocabulary, TokenId id) {
  if (id != kNoToken) vocabulary.ends_generation[static_cast<size_t>(id)] = 1;
}

void make_control(Vocabulary& vocabulary, TokenId id) {
  // A turn-ending spelling that is not marked as control is a known fault of converters.
  vocabulary.kinds[static_cast<size_t>(id)] = TokenKind::control;
}

void mark_separator(const GgufFile& gguf, Vocabulary& vocabulary, const Separator& separator) {
  constexpr uint64_t kNone = std::numeric_limits<uint32_t>::max();
  const uint64_t id = gguf.get_uint(separator.key, 0, kNone, kNone);
  if (id != kNone) {
    if (id >= static_cast<uint64_t>(vocabulary.size())) {
      fail(ErrorCode::corrupt, "{}: key {}: found {}, expected a token id below {}", gguf.source(), separator.key, id,
           vocabulary.size());
    }
    mark(vocabulary, static_cast<TokenId>(id));
    return;
  }
  for (const std::string_view spelling : separator.spellings) {
    const TokenId found = vocabulary.find(spelling);
    if (found == kNoToken) continue;
    make_control(vocabulary, found);
    mark(vocabulary, found);
    return;
  }
}

}  // namespace

void mark_end_of_generation(const GgufFile& gguf, Vocabulary& vocabulary) {
  vocabulary.ends_generation.assign(vocabulary.kinds.size(), 0);
  for (const Separator& separator : kSeparators) mark_separator(gguf, vocabulary, separator);
  for (const std::string_view spelling : kEndSpellings) {
    const TokenId id = vocabulary.find(spelling);
    if (id == kNoToken) continue;
    make_control(vocabulary, id);
    mark(vocabulary, id);
  }
  mark(vocabulary, vocabulary.eos);
  mark(vocabulary, vocabulary.eot);
  mark(vocabulary, vocabulary.eom);

  // In the harmony and Solar formats <|end|> separates parts of one answer.
  const auto has = [&](std::string_view text) { return vocabulary.find(text) != kNoToken; };
  const bool separates = (has("<|call|>") || has("<|calls|>")) && (has("<|return|>") || has("<|flush|>"));
  const TokenId end = vocabulary.find("<|end|>");
  if (separates && end != kNoToken) {
    vocabulary.kinds[static_cast<size_t>(end)] = TokenKind::user_defined;
    vocabulary.ends_generation[static_cast<size_t>(end)] = 0;
  }
}

}  // namespace thimble
