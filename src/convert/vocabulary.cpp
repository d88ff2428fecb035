// Token lists: SentencePiece or tokenizer.json, added tokens over it, padding up to the embedding. The rules are those
// of llama.cpp's convert_hf_to_gguf.py; where they differ, the place says so.
#include "convert/vocabulary.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "convert/special_tokens.h"

namespace thimble {

namespace {

constexpr float kPadScore = -10000.0f;
constexpr float kAddedScore = -1000.0f;

// Added tokens that some folders do not mark special although they control the model.
bool looks_special(std::string_view text) {
  return text == "<pad>" || (text.starts_with("<|") && text.ends_with("|>")) ||
         (text.starts_with("<｜") && text.ends_with("｜>"));
}

// llama.cpp expects user-defined tokens as they occur in the text: with spaces.
std::string with_spaces(const std::string& text) {
  constexpr std::string_view kMark = "\u2581";
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const bool mark = std::string_view(text).substr(i).starts_with(kMark);
    out += mark ? ' ' : text[i];
    i += mark ? kMark.size() : 1;
  }
  return out;
}

void append(HfVocabulary& vocabulary, std::string text, float score, TokenKind kind) {
  vocabulary.tokens.push_back(std::move(text));
  vocabulary.kinds.push_back(kind);
  if (vocabulary.model == "llama") vocabulary.scores.push_back(score);
}

// Embedding rows beyond the tokenizer get tokens that can neither be written nor read.
void pad_to(HfVocabulary& vocabulary, size_t n_vocab) {
  while (vocabulary.tokens.size() < n_vocab) {
    append(vocabulary, fmt::format("[PAD{}]", vocabulary.tokens.size()), kPadScore, TokenKind::unused);
  }
}

void check_fits(size_t n_tokens, const HfFolder& folder) {
  if (n_tokens > static_cast<size_t>(folder.config.n_vocab)) {
    fail(ErrorCode::corrupt, "{}: {} tokens, expected at most config.json's vocab_size {}", folder.tokenizer_path,
         n_tokens, folder.config.n_vocab);
  }
}

// Puts added tokens into the padded list. Ids past the embedding are dropped, as llama.cpp does: folders that add a
// [PAD] token without growing the model are common, and no such id can ever be fed to it.
void add_tokens(const std::vector<HfAddedToken>& added, HfVocabulary& vocabulary) {
  for (const HfAddedToken& token : added) {
    const auto id = static_cast<size_t>(token.id);
    if (id >= vocabulary.tokens.size()) continue;
    const bool control = token.special || looks_special(token.text);
    const bool same = vocabulary.tokens[id] == token.text;
    // What the SentencePiece model already calls unknown, control or byte stays so.
    if (same && vocabulary.kinds[id] != TokenKind::normal && vocabulary.kinds[id] != TokenKind::user_defined) continue;
    vocabulary.tokens[id] = control ? token.text : with_spaces(token.text);
    vocabulary.kinds[id] = control ? TokenKind::control : TokenKind::user_defined;
    if (!vocabulary.scores.empty()) vocabulary.scores[id] = kAddedScore;
  }
}

void read_sentencepiece(const HfFolder& folder, HfVocabulary& vocabulary) {
  const SentencePieceModel& model = *folder.sentencepiece;
  if (model.type != SentencePieceModel::Type::bpe) {
    fail(ErrorCode::unsupported, "{}: SentencePiece model of type '{}', expected 'bpe'", folder.tokenizer_path,
         sentencepiece_type_name(model.type));
  }
  if (!model.escape_whitespaces) {
    fail(ErrorCode::unsupported, "{}: SentencePiece model without escape_whitespaces, expected with",
         folder.tokenizer_path);
  }
  vocabulary.model = "llama";
  vocabulary.pre = "default";
  check_fits(model.pieces.size(), folder);
  for (const SentencePieceModel::Piece& piece : model.pieces) append(vocabulary, piece.text, piece.score, piece.kind);
  pad_to(vocabulary, static_cast<size_t>(folder.config.n_vocab));
  add_tokens(folder.added_tokens_json, vocabulary);
  add_tokens(folder.tokenizer_config.added, vocabulary);
  vocabulary.add_space_prefix = folder.tokenizer_config.add_prefix_space.value_or(model.add_dummy_prefix);
}

// SentencePiece merges the pair whose piece has the highest score; tokenizers merges the pair with the lowest rank. The
// merges of a converted model are grouped by piece, best piece first, so counting pieces gives the scores back.
// (llama.cpp gives every piece the same score here, which merges from left to right, whatever the rank.)
std::vector<float> scores_from_merges(const HfTokenizer& tokenizer) {
  std::unordered_map<std::string, int32_t> order;
  for (const auto& [left, right] : tokenizer.merges) order.emplace(left + right, static_cast<int32_t>(order.size()));
  std::unordered_set<std::string_view> special;
  for (const HfAddedToken& token : tokenizer.added) special.insert(token.text);
  if (tokenizer.unk_token) special.insert(*tokenizer.unk_token);
  std::vector<float> scores;
  auto next = static_cast<int32_t>(order.size());
  for (const std::string& token : tokenizer.tokens) {
    const auto it = order.find(token);
    // Pieces that no merge makes (single characters) are never compared; they follow as SentencePiece numbers them.
    const bool plain = it == order.end() && !token.empty() && !is_byte_spelling(token) && !special.contains(token);
    scores.push_back(it != order.end() ? -static_cast<float>(it->second) : plain ? -static_cast<float>(next++) : 0.0f);
  }
  return scores;
}

void read_tokenizer_json(const HfFolder& folder, HfVocabulary& vocabulary) {
  const HfTokenizer& tokenizer = *folder.tokenizer;
  const bool sentencepiece = tokenizer.style == HfTokenizer::Style::sentencepiece;
  vocabulary.model = sentencepiece ? "llama" : "gpt2";
  vocabulary.pre = tokenizer.pre_tokenizer;
  check_fits(tokenizer.tokens.size(), folder);
  const std::vector<float> scores =
      sentencepiece ? scores_from_merges(tokenizer) : std::vector<float>(tokenizer.tokens.size());
  for (size_t id = 0; id < tokenizer.tokens.size(); ++id) {
    const std::string& text = tokenizer.tokens[id];
    const bool byte = sentencepiece && is_byte_spelling(text);
    const bool unknown = sentencepiece && !text.empty() && tokenizer.unk_token == text;
    append(vocabulary, text, scores[id], unknown ? TokenKind::unknown : byte ? TokenKind::byte : TokenKind::normal);
  }
  pad_to(vocabulary, static_cast<size_t>(folder.config.n_vocab));
  add_tokens(tokenizer.added, vocabulary);
  if (sentencepiece) {
    vocabulary.add_space_prefix = folder.tokenizer_config.add_prefix_space.value_or(tokenizer.add_space_prefix);
    return;
  }
  vocabulary.add_space_prefix = folder.tokenizer_config.add_prefix_space;
  for (const auto& [left, right] : tokenizer.merges) vocabulary.merges.push_back(fmt::format("{} {}", left, right));
}

// Other templates than the default are listed by name (gguf-py's add_chat_template).
void write_chat_templates(const HfVocabulary& vocabulary, GgufMetadata& metadata) {
  std::vector<std::string> names;
  for (const auto& [name, text] : vocabulary.chat_templates) {
    if (name.empty()) {
      metadata.set_string("tokenizer.chat_template", text);
      continue;
    }
    std::string key;
    for (const char c : name) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
      key += plain ? c : '_';
    }
    names.push_back(key);
    metadata.set_string("tokenizer.chat_template." + key, text);
  }
  if (!names.empty()) metadata.set_strings("tokenizer.chat_templates", names);
}

void set_id(GgufMetadata& metadata, std::string_view key, std::optional<int32_t> id) {
  if (id) metadata.set_uint32(key, static_cast<uint32_t>(*id));
}

}  // namespace

HfVocabulary read_vocabulary(const HfFolder& folder) {
  HfVocabulary vocabulary;
  if (folder.sentencepiece) {
    read_sentencepiece(folder, vocabulary);
  } else {
    read_tokenizer_json(folder, vocabulary);
  }
  assign_special_tokens(folder, vocabulary);
  vocabulary.chat_templates = folder.tokenizer_config.chat_templates;
  return vocabulary;
}

void write_vocabulary(const HfVocabulary& vocabulary, GgufMetadata& metadata) {
  std::vector<int32_t> kinds;
  for (const TokenKind kind : vocabulary.kinds) kinds.push_back(static_cast<int32_t>(kind));
  metadata.set_string("tokenizer.ggml.model", vocabulary.model);
  metadata.set_string("tokenizer.ggml.pre", vocabulary.pre);
  metadata.set_strings("tokenizer.ggml.tokens", vocabulary.tokens);
  if (!vocabulary.scores.empty()) metadata.set_floats("tokenizer.ggml.scores", vocabulary.scores);
  metadata.set_int32s("tokenizer.ggml.token_type", kinds);
  if (vocabulary.model == "gpt2") metadata.set_strings("tokenizer.ggml.merges", vocabulary.merges);
  set_id(metadata, "tokenizer.ggml.bos_token_id", vocabulary.bos);
  set_id(metadata, "tokenizer.ggml.eos_token_id", vocabulary.eos);
  set_id(metadata, "tokenizer.ggml.unknown_token_id", vocabulary.unk);
  set_id(metadata, "tokenizer.ggml.padding_token_id", vocabulary.pad);
  set_id(metadata, "tokenizer.ggml.eot_token_id", vocabulary.eot);
  metadata.set_bool("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
  metadata.set_bool("tokenizer.ggml.add_eos_token", vocabulary.add_eos);
  if (vocabulary.add_space_prefix) {
    metadata.set_bool("tokenizer.ggml.add_space_prefix", *vocabulary.add_space_prefix);
  }
  write_chat_templates(vocabulary, metadata);
}

}  // namespace thimble
