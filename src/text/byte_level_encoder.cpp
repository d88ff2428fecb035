// Byte-level BPE as in llama.cpp's llm_tokenizer_bpe: lowest rank first, leftmost among equals. Texts are compared as
// symbol ids: every token and every text that a merge rule names has one.
#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "text/merge_encoder.h"
#include "text/unicode.h"

namespace thimble {

namespace {

constexpr std::string_view kMergesKey = "tokenizer.ggml.merges";

constexpr auto kWorseJoin = [](const auto& a, const auto& b) noexcept {
  return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
};

/// Ids for texts: tokens keep theirs, other texts get the next free one.
class SymbolTable {
 public:
  explicit SymbolTable(const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), next_(static_cast<uint32_t>(vocabulary.size())) {}

  uint32_t id(const std::string& text) {
    const TokenId token = vocabulary_.find(text);
    if (token != kNoToken) return static_cast<uint32_t>(token);
    const auto [it, inserted] = others_.emplace(text, next_);
    if (inserted) ++next_;
    return it->second;
  }
  uint32_t size() const noexcept { return next_; }

 private:
  const Vocabulary& vocabulary_;
  uint32_t next_;
  std::unordered_map<std::string, uint32_t> others_;
};

}  // namespace

ByteLevelEncoder::ByteLevelEncoder(const GgufFile& gguf, const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  for (TokenId id = 0; id < vocabulary.size(); ++id)
    max_spelling_ = std::max(max_spelling_, vocabulary.text(id).size());
  read_rules(gguf);
}

void ByteLevelEncoder::read_rules(const GgufFile& gguf) {
  const std::vector<std::string_view>* merges = gguf.get_strings(kMergesKey);
  if (merges == nullptr) {
    fail(ErrorCode::corrupt, "{}: key {}: missing, expected an array of strings", gguf.source(), kMergesKey);
  }
  if (merges->size() > (1u << 30)) {
    fail(ErrorCode::corrupt, "{}: key {}: found {} merges, expected at most 2^30", gguf.source(), kMergesKey,
         merges->size());
  }
  SymbolTable symbols(vocabulary_);
  for (uint32_t byte = 0; byte < 256; ++byte) {
    std::string spelled;
    append_utf8(spelled, byte_to_character(static_cast<uint8_t>(byte)));
    byte_symbols_[byte] = symbols.id(spelled);
    byte_tokens_[byte] = vocabulary_.find_ordinary(spelled);
    if (byte_tokens_[byte] == kNoToken) byte_tokens_[byte] = vocabulary_.unknown;
  }
  std::vector<RawRule> rules;
  rules.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    const std::string_view merge = (*merges)[i];
    const size_t space = merge.size() < 3 ? std::string_view::npos : merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      fail(ErrorCode::corrupt, "{}: key {}: entry {} is \"{}\", expected two texts with a space between them",
           gguf.source(), kMergesKey, i, merge.substr(0, 64));
    }
    const std::string left(merge.substr(0, space));
    const std::string right(merge.substr(space + 1));
    const uint32_t left_id = symbols.id(left);
    const uint32_t right_id = symbols.id(right);
    rules.push_back({left_id, {right_id, static_cast<uint32_t>(i), symbols.id(left + right)}});
  }
  index_rules(std::move(rules), symbols.size());
}

void ByteLevelEncoder::index_rules(std::vector<RawRule> rules, uint32_t n_symbols) {
  std::sort(rules.begin(), rules.end(), [](const RawRule& a, const RawRule& b) {
    if (a.left != b.left) return a.left < b.left;
    return a.rule.right != b.rule.right ? a.rule.right < b.rule.right : a.rule.rank < b.rule.rank;
  });
  // Of a pair given twice the first rank counts.
  rules.erase(
      std::unique(rules.begin(), rules.end(),
                  [](const RawRule& a, const RawRule& b) { return a.left == b.left && a.rule.right == b.rule.right; }),
      rules.end());
  rule_begin_.assign(static_cast<size_t>(n_symbols) + 1, 0);
  rules_.reserve(rules.size());
  for (const RawRule& raw : rules) {
    ++rule_begin_[static_cast<size_t>(raw.left) + 1];
    rules_.push_back(raw.rule);
  }
  for (size_t i = 1; i < rule_begin_.size(); ++i) rule_begin_[i] += rule_begin_[i - 1];
}

const ByteLevelEncoder::Rule* ByteLevelEncoder::find_rule(uint32_t left, uint32_t right) const noexcept {
  const Rule* begin = rules_.data() + rule_begin_[left];
  const Rule* end = rules_.data() + rule_begin_[static_cast<size_t>(left) + 1];
  const Rule* rule = std::lower_bound(begin, end, right, [](const Rule& r, uint32_t v) { return r.right < v; });
  return rule != end && rule->right == right ? rule : nullptr;
}

void ByteLevelEncoder::add_join(Scratch& scratch, int32_t left, uint64_t& work) const {
  ++work;
  if (left < 0) return;
  const Node& a = scratch.nodes[static_cast<size_t>(left)];
  if (a.next < 0) return;
  const uint32_t right_symbol = scratch.nodes[static_cast<size_t>(a.next)].symbol;
  const Rule* rule = find_rule(a.symbol, right_symbol);
  if (rule == nullptr) return;
  scratch.heap.push_back({rule->rank, left, a.symbol, right_symbol, rule->result});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), kWorseJoin);
}

void ByteLevelEncoder::emit(uint32_t symbol, std::string_view bytes, std::vector<TokenId>& ids) const {
  if (symbol < static_cast<uint32_t>(vocabulary_.size()) && vocabulary_.is_ordinary(static_cast<TokenId>(symbol))) {
    ids.push_back(static_cast<TokenId>(symbol));
    return;
  }
  // The rules name a text that the vocabulary lacks. A byte that it lacks too and no unknown token: nothing is left.
  for (const char c : bytes) {
    const TokenId id = byte_tokens_[static_cast<uint8_t>(c)];
    if (id != kNoToken) ids.push_back(id);
  }
}

void ByteLevelEncoder::encode_word(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids,
                                   uint64_t& work) const {
  work += word.size();
  if (vocabulary_.ignore_merges && word.size() <= max_spelling_) {
    scratch.spelled.clear();
    for (const char c : word) append_utf8(scratch.spelled, byte_to_character(static_cast<uint8_t>(c)));
    const TokenId id = vocabulary_.find_ordinary(scratch.spelled);
    if (id != kNoToken) {
      ids.push_back(id);
      return;
    }
  }
  std::vector<Node>& nodes = scratch.nodes;
  nodes.clear();
  scratch.heap.clear();
  for (const char c : word) {
    const auto index = static_cast<int32_t>(nodes.size());
    nodes.push_back({byte_symbols_[static_cast<uint8_t>(c)], index - 1, index + 1});
  }
  nodes.back().next = -1;
  for (int32_t i = 0; i + 1 < static_cast<int32_t>(nodes.size()); ++i) add_join(scratch, i, work);
  constexpr uint32_t kGone = ~0u;
  while (!scratch.heap.empty()) {
    ++work;
    std::pop_heap(scratch.heap.begin(), scratch.heap.end(), kWorseJoin);
    const Join join = scratch.heap.back();
    scratch.heap.pop_back();
    Node& left = nodes[static_cast<size_t>(join.left)];
    if (left.symbol != join.left_symbol || left.next < 0) continue;  // outdated
    Node& right = nodes[static_cast<size_t>(left.next)];
    if (right.symbol != join.right_symbol) continue;
    left.symbol = join.result;
    left.next = right.next;
    right.symbol = kGone;
    if (left.next >= 0) nodes[static_cast<size_t>(left.next)].previous = join.left;
    add_join(scratch, left.previous, work);
    add_join(scratch, join.left, work);
  }
  // Node i began at byte i of the word, so a node's bytes end where the next one begins.
  for (int32_t i = 0; i >= 0;) {
    const Node& node = nodes[static_cast<size_t>(i)];
    const size_t end = node.next < 0 ? word.size() : static_cast<size_t>(node.next);
    emit(node.symbol, word.substr(static_cast<size_t>(i), end - static_cast<size_t>(i)), ids);
    i = node.next;
  }
}

void ByteLevelEncoder::encode(std::string_view text, std::vector<TokenId>& ids, uint64_t& work) const {
  Scratch scratch;
  split_words(vocabulary_.pre, text, scratch.split, work);
  uint32_t begin = 0;
  for (const uint32_t end_character : scratch.split.ends) {
    const uint32_t end = scratch.split.offsets[end_character];
    encode_word(text.substr(begin, end - begin), scratch, ids, work);
    begin = end;
  }
}

}  // namespace thimble
