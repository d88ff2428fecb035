// SentencePiece BPE as in llama.cpp's llm_tokenizer_spm: highest score first, leftmost among equals; characters that
// are no token become byte tokens. Unlike there, control, unknown and byte tokens cannot come out of plain text.
// No merge can cross two neighbouring characters that no token holds side by side, so the text is cut there (before
// most words) and each segment merged alone: the same ids, but small heaps that stay in the cache.
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

struct SentencePieceEncoder::Scratch {
  std::vector<Symbol> symbols;
  std::vector<Merge> heap;
};

namespace {

constexpr uint32_t kPairBits = 1u << 20;  // 128 KiB; a false positive only makes a segment longer

uint32_t pair_hash(uint32_t first, uint32_t second) noexcept {
  const uint64_t key = static_cast<uint64_t>(first) << 32 | second;
  return static_cast<uint32_t>((key * 0x9E3779B97F4A7C15u) >> 44);
}

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

constexpr auto kWorseMerge = [](const auto& a, const auto& b) noexcept {
  return a.score != b.score ? a.score < b.score : a.left > b.left;
};

}  // namespace

SentencePieceEncoder::SentencePieceEncoder(const Vocabulary& vocabulary)
    : vocabulary_(vocabulary), pairs_(kPairBits / 64) {
  std::fill(std::begin(byte_tokens_), std::end(byte_tokens_), kNoToken);
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    if (vocabulary.kind(id) == TokenKind::byte) byte_tokens_[static_cast<uint8_t>(parse_byte_token(text))] = id;
    if (!vocabulary.is_ordinary(id)) continue;
    if (has_length_.size() <= text.size()) has_length_.resize(text.size() + 1, 0);
    has_length_[text.size()] = 1;
    remember_pairs(text);
  }
  for (TokenId& id : byte_tokens_) {
    if (id == kNoToken) id = vocabulary.unknown;
  }
}

void SentencePieceEncoder::remember_pairs(std::string_view token) {
  uint32_t previous = 0;
  for (bool first = true; !token.empty(); first = false) {
    const Utf8Step step = decode_utf8(token);
    if (!first) {
      const uint32_t bit = pair_hash(previous, step.code_point);
      pairs_[bit / 64] |= uint64_t{1} << (bit % 64);
    }
    previous = step.code_point;
    token.remove_prefix(step.length);
  }
}

TokenId SentencePieceEncoder::find(std::string_view text) const noexcept {
  if (text.size() >= has_length_.size() || has_length_[text.size()] == 0) return kNoToken;
  return vocabulary_.find_ordinary(text);
}

void SentencePieceEncoder::add_merge(std::string_view text, Scratch& scratch, int32_t left, int32_t right) const {
  if (left < 0 || right < 0) return;
  const Symbol& a = scratch.symbols[static_cast<size_t>(left)];
  const uint32_t length = a.length + scratch.symbols[static_cast<size_t>(right)].length;
  const TokenId id = find(text.substr(a.begin, length));
  if (id == kNoToken) return;
  scratch.heap.push_back({vocabulary_.scores[static_cast<size_t>(id)], left, right, length, id});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), kWorseMerge);
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

void SentencePieceEncoder::encode_segment(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids,
                                          uint64_t& work) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<Merge>& heap = scratch.heap;
  if (symbols.empty()) return;
  symbols.back().next = -1;
  work += symbols.size();
  for (int32_t i = 1; i < static_cast<int32_t>(symbols.size()); ++i) add_merge(text, scratch, i - 1, i);
  while (!heap.empty()) {
    work += 3;  // one taken, two neighbours tried
    std::pop_heap(heap.begin(), heap.end(), kWorseMerge);
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
    add_merge(text, scratch, left.previous, merge.left);
    add_merge(text, scratch, merge.left, left.next);
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const Symbol& symbol = symbols[static_cast<size_t>(i)];
    emit(text.substr(symbol.begin, symbol.length), symbol.id, ids);
  }
  symbols.clear();
}

void SentencePieceEncoder::encode(std::string_view plain, std::vector<TokenId>& ids, uint64_t& work) const {
  const std::string escaped = escape_spaces(plain);
  const std::string_view text = escaped;
  Scratch scratch;
  uint32_t previous = 0;
  for (uint32_t begin = 0; begin < text.size();) {
    const Utf8Step step = decode_utf8(text.substr(begin));
    const uint32_t length = step.valid ? step.length : 1;
    const uint32_t bit = pair_hash(previous, step.code_point);
    const bool together = step.valid && (pairs_[bit / 64] >> (bit % 64) & 1) != 0;
    if (!together) encode_segment(text, scratch, ids, work);
    const auto index = static_cast<int32_t>(scratch.symbols.size());
    scratch.symbols.push_back({begin, length, index - 1, index + 1, kNoToken});
    previous = step.code_point;
    begin += length;
  }
  encode_segment(text, scratch, ids, work);
}

}  // namespace thimble
