// SentencePiece BPE as in llama.cpp's llm_tokenizer_spm: highest score first, leftmost among equals; characters that
// are no token become byte tokens. Unlike there, control, unknown and byte tokens cannot come out of plain text.
#include <algorithm>

#include "text/merge_encoder.h"
#include "text/unicode.h"

namespace thimble {

struct SentencePieceEncoder::Symbol {
  uint32_t begin;
  uint32_t length;  // 0: merged into the symbol to its left
  int32_t previous;
  int32_t next;
  TokenId id;  // known for merged symbols
};

struct SentencePieceEncoder::Merge {
  float score;
  int32_t left;
  int32_t right;
  uint32_t length;
  TokenId id;
};

namespace {

std::string escape_spaces(std::string_view text) {
  std::string result;
  result.reserve(text.size() + text.size() / 2);
  for (const char c : text) {
    if (c == ' ') {
      result += "\xE2\x96\x81";
    } else {
      result += c;
    }
  }
  return result;
}

constexpr auto kWorse = [](const auto& a, const auto& b) noexcept {
  return a.score != b.score ? a.score < b.score : a.left > b.left;
};

}  // namespace

SentencePieceEncoder::SentencePieceEncoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  std::fill(std::begin(byte_tokens_), std::end(byte_tokens_), kNoToken);
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    if (vocabulary.kind(id) == TokenKind::byte) byte_tokens_[static_cast<uint8_t>(parse_byte_token(text))] = id;
    if (!vocabulary.is_ordinary(id)) continue;
    if (has_length_.size() <= text.size()) has_length_.resize(text.size() + 1, 0);
    has_length_[text.size()] = 1;
  }
  for (TokenId& id : byte_tokens_) {
    if (id == kNoToken) id = vocabulary.unknown;
  }
}

TokenId SentencePieceEncoder::find(std::string_view text) const noexcept {
  if (text.size() >= has_length_.size() || has_length_[text.size()] == 0) return kNoToken;
  return vocabulary_.find_ordinary(text);
}

void SentencePieceEncoder::add_merge(const std::string& text, const std::vector<Symbol>& symbols,
                                     std::vector<Merge>& heap, int32_t left, int32_t right) const {
  if (left < 0 || right < 0) return;
  const Symbol& a = symbols[static_cast<size_t>(left)];
  const uint32_t length = a.length + symbols[static_cast<size_t>(right)].length;
  const TokenId id = find(std::string_view(text).substr(a.begin, length));
  if (id == kNoToken) return;
  heap.push_back({vocabulary_.scores[static_cast<size_t>(id)], left, right, length, id});
  std::push_heap(heap.begin(), heap.end(), kWorse);
}

void SentencePieceEncoder::emit(std::string_view text, TokenId id, std::vector<TokenId>& ids) const {
  if (id == kNoToken) id = find(text);
  if (id != kNoToken) {
    ids.push_back(id);
    return;
  }
  for (const char c : text) {
    const TokenId byte = byte_tokens_[static_cast<uint8_t>(c)];
    if (byte != kNoToken) ids.push_back(byte);
  }
}

void SentencePieceEncoder::encode(std::string_view plain, std::vector<TokenId>& ids, uint64_t& work) const {
  const std::string text = escape_spaces(plain);
  std::vector<Symbol> symbols;
  symbols.reserve(text.size());
  for (uint32_t begin = 0; begin < text.size();) {
    const Utf8Step step = decode_utf8(std::string_view(text).substr(begin));
    const uint32_t length = step.valid ? step.length : 1;
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({begin, length, index - 1, index + 1, kNoToken});
    begin += length;
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  std::vector<Merge> heap;
  for (int32_t i = 1; i < static_cast<int32_t>(symbols.size()); ++i) add_merge(text, symbols, heap, i - 1, i);
  work += symbols.size();
  while (!heap.empty()) {
    work += 3;  // one taken, two neighbours tried
    std::pop_heap(heap.begin(), heap.end(), kWorse);
    const Merge merge = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(merge.left)];
    Symbol& right = symbols[static_cast<size_t>(merge.right)];
    if (left.length == 0 || right.length == 0 || left.length + right.length != merge.length) continue;  // outdated
    left.length = merge.length;
    left.id = merge.id;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = merge.left;
    add_merge(text, symbols, heap, left.previous, merge.left);
    add_merge(text, symbols, heap, merge.left, left.next);
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const Symbol& symbol = symbols[static_cast<size_t>(i)];
    emit(std::string_view(text).substr(symbol.begin, symbol.length), symbol.id, ids);
  }
}

}  // namespace thimble
