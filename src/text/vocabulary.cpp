// Reads and checks the tokenizer.ggml.* keys. Defaults for missing keys are llama.cpp's (src/llama-vocab.cpp, v0.5.0);
// what llama.cpp only warns about (ids out of range) or asserts on is an error here.
#include "text/vocabulary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/end_of_generation.h"
#include "text/unicode.h"

namespace thimble {

namespace {

constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr std::string_view kScoresKey = "tokenizer.ggml.scores";
constexpr std::string_view kKindsKey = "tokenizer.ggml.token_type";
constexpr std::string_view kSpaceMarker = "\xE2\x96\x81";  // U+2581 stands for a space in SentencePiece

std::array<int16_t, 512> make_character_to_byte() noexcept {
  std::array<int16_t, 512> map{};
  map.fill(-1);
  for (int byte = 0; byte < 256; ++byte)
    map[byte_to_character(static_cast<uint8_t>(byte))] = static_cast<int16_t>(byte);
  return map;
}

/// Bytes of a byte-level token. Characters outside the byte alphabet (added tokens marked normal) stand for themselves.
std::string decode_byte_level(std::string_view text) {
  static const std::array<int16_t, 512> map = make_character_to_byte();
  std::string bytes;
  while (!text.empty()) {
    const Utf8Step step = decode_utf8(text);
    const int byte = step.code_point < map.size() ? map[step.code_point] : -1;
    if (byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
    } else {
      bytes += text.substr(0, step.length);
    }
    text.remove_prefix(step.length);
  }
  return bytes;
}

std::string unescape_spaces(std::string_view text) {
  std::string result;
  size_t pos = 0;
  for (;;) {
    const size_t marker = text.find(kSpaceMarker, pos);
    result += text.substr(pos, marker - pos);
    if (marker == std::string_view::npos) return result;
    result += ' ';
    pos = marker + kSpaceMarker.size();
  }
}

void read_texts(const GgufFile& gguf, Vocabulary& vocabulary) {
  const std::vector<std::string_view>* tokens = gguf.get_strings(kTokensKey);
  if (tokens == nullptr)
    fail(ErrorCode::corrupt, "{}: key {}: missing, expected an array of strings", gguf.source(), kTokensKey);
  if (tokens->empty() || tokens->size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    fail(ErrorCode::corrupt, "{}: key {}: found {} tokens, expected 1 to 2147483647", gguf.source(), kTokensKey,
         tokens->size());
  }
  vocabulary.texts.reserve(tokens->size());
  for (size_t i = 0; i < tokens->size(); ++i) {
    const std::string_view text = (*tokens)[i];
    if (!is_utf8(text)) {
      fail(ErrorCode::corrupt, "{}: key {}: entry {} is not UTF-8", gguf.source(), kTokensKey, i);
    }
    vocabulary.texts.add(text);
  }
  vocabulary.ids.reserve(tokens->size());
  for (size_t i = 0; i < tokens->size(); ++i) {
    // Some published vocabularies have empty entries: no text can produce one, and it stands for no bytes.
    if (vocabulary.texts[i].empty()) continue;
    const auto [it, inserted] = vocabulary.ids.emplace(vocabulary.texts[i], static_cast<TokenId>(i));
    if (!inserted) {
      fail(ErrorCode::corrupt, "{}: key {}: entry {} repeats entry {} (\"{}\")", gguf.source(), kTokensKey, i,
           it->second, vocabulary.texts[i].substr(0, 64));
    }
  }
}

void read_kinds(const GgufFile& gguf, Vocabulary& vocabulary) {
  const size_t count = vocabulary.texts.size();
  const std::optional<std::vector<int64_t>> kinds = gguf.get_ints(kKindsKey);
  if (!kinds) {
    // llama.cpp takes all for normal then, yet finds byte tokens by their spelling.
    const bool has_bytes = vocabulary.model == VocabularyModel::sentencepiece;
    for (size_t i = 0; i < count; ++i) {
      const bool byte = has_bytes && parse_byte_token(vocabulary.texts[i]) >= 0;
      vocabulary.kinds.push_back(byte ? TokenKind::byte : TokenKind::normal);
    }
    return;
  }
  if (kinds->size() != count) {
    fail(ErrorCode::corrupt, "{}: key {}: found {} entries, expected {} as in {}", gguf.source(), kKindsKey,
         kinds->size(), count, kTokensKey);
  }
  vocabulary.kinds.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const int64_t kind = (*kinds)[i];
    if (kind < 0 || kind > static_cast<int64_t>(TokenKind::byte)) {
      fail(ErrorCode::corrupt, "{}: key {}: entry {} is {}, expected 0 to 6", gguf.source(), kKindsKey, i, kind);
    }
    vocabulary.kinds.push_back(static_cast<TokenKind>(kind));
  }
}

void read_scores(const GgufFile& gguf, Vocabulary& vocabulary) {
  if (vocabulary.model == VocabularyModel::byte_level) return;
  const size_t count = vocabulary.texts.size();
  std::optional<std::vector<float>> scores = gguf.get_floats(kScoresKey);
  // llama.cpp scores all 0 then: merges from left to right.
  if (!scores) scores.emplace(count, 0.0f);
  if (scores->size() != count) {
    fail(ErrorCode::corrupt, "{}: key {}: found {} entries, expected {} as in {}", gguf.source(), kScoresKey,
         scores->size(), count, kTokensKey);
  }
  for (size_t i = 0; i < count; ++i) {
    // NaN would break the order of merges.
    if (!std::isfinite((*scores)[i])) {
      fail(ErrorCode::corrupt, "{}: key {}: entry {} is not finite", gguf.source(), kScoresKey, i);
    }
  }
  vocabulary.scores = std::move(*scores);
}

void build_pieces(const GgufFile& gguf, Vocabulary& vocabulary) {
  vocabulary.pieces.reserve(vocabulary.texts.size());
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    switch (vocabulary.kind(id)) {
      case TokenKind::byte: {
        const int value = parse_byte_token(text);
        if (value < 0) {
          fail(ErrorCode::corrupt, "{}: key {}: entry {} is the byte token \"{}\", expected \"<0x00>\" to \"<0xFF>\"",
               gguf.source(), kTokensKey, id, text.substr(0, 64));
        }
        const char byte = static_cast<char>(value);
        vocabulary.pieces.add(std::string_view(&byte, 1));
        break;
      }
      case TokenKind::normal:
      case TokenKind::undefined:
      case TokenKind::unused:
        vocabulary.pieces.add(vocabulary.model == VocabularyModel::byte_level ? decode_byte_level(text)
                                                                              : unescape_spaces(text));
        break;
      case TokenKind::unknown:
      case TokenKind::control:
      case TokenKind::user_defined:
        vocabulary.pieces.add(text);
        break;
    }
  }
}

/// Id stored under `key`, else `fallback` when the vocabulary is that large. 0xFFFFFFFF is how some writers say "none".
TokenId read_id(const GgufFile& gguf, const Vocabulary& vocabulary, std::string_view key, TokenId fallback) {
  constexpr uint64_t kNone = std::numeric_limits<uint32_t>::max();
  if (gguf.find(key) == nullptr) return vocabulary.contains(fallback) ? fallback : kNoToken;
  const uint64_t id = gguf.get_uint(key, 0, kNone);
  if (id == kNone) return kNoToken;
  if (id >= static_cast<uint64_t>(vocabulary.size())) {
    fail(ErrorCode::corrupt, "{}: key {}: found {}, expected a token id below {}", gguf.source(), key, id,
         vocabulary.size());
  }
  return static_cast<TokenId>(id);
}

void read_ids_and_flags(const GgufFile& gguf, Vocabulary& vocabulary) {
  const bool sentencepiece = vocabulary.model == VocabularyModel::sentencepiece;
  vocabulary.bos = read_id(gguf, vocabulary, "tokenizer.ggml.bos_token_id", sentencepiece ? 1 : 11);
  vocabulary.eos = read_id(gguf, vocabulary, "tokenizer.ggml.eos_token_id", sentencepiece ? 2 : 11);
  vocabulary.unknown = read_id(gguf, vocabulary, "tokenizer.ggml.unknown_token_id", sentencepiece ? 0 : kNoToken);
  vocabulary.eot = read_id(gguf, vocabulary, "tokenizer.ggml.eot_token_id", kNoToken);
  vocabulary.eom = read_id(gguf, vocabulary, "tokenizer.ggml.eom_token_id", kNoToken);
  const bool llama3 = !sentencepiece && vocabulary.pre == PreTokenizer::llama3;
  vocabulary.ignore_merges = llama3;
  vocabulary.add_bos = gguf.get_bool("tokenizer.ggml.add_bos_token", sentencepiece || llama3);
  vocabulary.add_eos = gguf.get_bool("tokenizer.ggml.add_eos_token", false);
  vocabulary.add_space_prefix = sentencepiece && gguf.get_bool("tokenizer.ggml.add_space_prefix", true);
  if (vocabulary.add_bos && vocabulary.bos == kNoToken) {
    fail(ErrorCode::corrupt, "{}: key tokenizer.ggml.bos_token_id: missing, expected one because BOS is to be added",
         gguf.source());
  }
  if (vocabulary.add_eos && vocabulary.eos == kNoToken) {
    fail(ErrorCode::corrupt, "{}: key tokenizer.ggml.eos_token_id: missing, expected one because EOS is to be added",
         gguf.source());
  }
  // The files do not say which tokens strip; llama.cpp goes by the model's name.
  std::string name(gguf.get_string("general.name", ""));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  vocabulary.strips_after_special = name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
}

VocabularyModel read_model(const GgufFile& gguf) {
  const std::string_view model = gguf.get_string("tokenizer.ggml.model");
  if (model == "llama") return VocabularyModel::sentencepiece;
  if (model == "gpt2") return VocabularyModel::byte_level;
  fail(ErrorCode::unsupported, "{}: key tokenizer.ggml.model: found \"{}\", expected llama or gpt2", gguf.source(),
       model.substr(0, 64));
}

PreTokenizer read_pre(const GgufFile& gguf) {
  const std::string_view name = gguf.get_string("tokenizer.ggml.pre", "default");
  const std::optional<PreTokenizer> pre = pre_tokenizer_from_name(name);
  if (!pre) {
    fail(ErrorCode::unsupported, "{}: key tokenizer.ggml.pre: found \"{}\", expected one of {}", gguf.source(),
         name.substr(0, 64), pre_tokenizer_names());
  }
  return *pre;
}

}  // namespace

void StringTable::add(std::string_view text) {
  bytes_.insert(bytes_.end(), text.begin(), text.end());
  ends_.push_back(bytes_.size());
}

std::string_view StringTable::operator[](size_t i) const noexcept {
  const size_t begin = i == 0 ? 0 : ends_[i - 1];
  return {bytes_.data() + begin, ends_[i] - begin};
}

TokenId Vocabulary::find(std::string_view text) const noexcept {
  const auto it = ids.find(text);
  return it == ids.end() ? kNoToken : it->second;
}

bool Vocabulary::is_ordinary(TokenId id) const noexcept {
  const TokenKind k = kind(id);
  return k != TokenKind::control && k != TokenKind::unknown && k != TokenKind::byte;
}

TokenId Vocabulary::find_ordinary(std::string_view text) const noexcept {
  const TokenId id = find(text);
  return id != kNoToken && is_ordinary(id) ? id : kNoToken;
}

uint32_t byte_to_character(uint8_t byte) noexcept {
  // Printable Latin-1 stands for itself, the 68 others for U+0100 and up in order.
  if ((byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD)) return byte;
  if (byte <= 0x20) return 0x100u + byte;
  if (byte == 0xAD) return 0x100 + 67;
  return 0x100u + 33u + (byte - 0x7Fu);
}

int parse_byte_token(std::string_view text) noexcept {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    int digit = 0;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else {
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

Vocabulary read_vocabulary(const GgufFile& gguf) {
  Vocabulary vocabulary;
  vocabulary.source = gguf.source();
  vocabulary.model = read_model(gguf);
  if (vocabulary.model == VocabularyModel::byte_level) vocabulary.pre = read_pre(gguf);
  read_texts(gguf, vocabulary);
  read_kinds(gguf, vocabulary);
  read_scores(gguf, vocabulary);
  read_ids_and_flags(gguf, vocabulary);
  mark_end_of_generation(gguf, vocabulary);
  build_pieces(gguf, vocabulary);
  return vocabulary;
}

}  // namespace thimble
