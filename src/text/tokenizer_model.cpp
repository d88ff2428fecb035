// Cuts special tokens out of the text and hands the stretches between them to the merging algorithm, as llama.cpp's
// llama_vocab::tokenize.
#include "text/tokenizer_model.h"

#include "base/error.h"

namespace thimble {

namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;  // offsets are 32 bits and a space may grow to three bytes

SpecialMatcher make_matcher(const Vocabulary& vocabulary, bool with_control) {
  std::vector<SpecialMatcher::Pattern> patterns;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const TokenKind kind = vocabulary.kind(id);
    const bool control = kind == TokenKind::control || kind == TokenKind::unknown;
    if (kind != TokenKind::user_defined && !(control && with_control)) continue;
    const std::string_view text = vocabulary.text(id);
    if (text.empty()) continue;
    const bool strips = vocabulary.strips_after_special && text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
    patterns.push_back({text, id, strips});
  }
  return SpecialMatcher(patterns);
}

std::unique_ptr<MergeEncoder> make_encoder(const GgufFile& gguf, const Vocabulary& vocabulary) {
  if (vocabulary.model == VocabularyModel::byte_level) return std::make_unique<ByteLevelEncoder>(gguf, vocabulary);
  return std::make_unique<SentencePieceEncoder>(vocabulary);
}

void drop_leading_spaces(std::string_view& text) {
  while (!text.empty() && is_ascii_space(text.front())) text.remove_prefix(1);
}

}  // namespace

TokenizerModel::TokenizerModel(const GgufFile& gguf)
    : vocabulary_(read_vocabulary(gguf)),
      added_(make_matcher(vocabulary_, false)),
      special_(make_matcher(vocabulary_, true)),
      encoder_(make_encoder(gguf, vocabulary_)) {}

void TokenizerModel::flush(std::string& ordinary, bool& after_special, std::vector<TokenId>& ids,
                           uint64_t& work) const {
  const auto encode_stretch = [&](std::string_view text) {
    if (text.empty()) return;
    if (vocabulary_.add_space_prefix && after_special) {
      encoder_->encode(std::string(" ").append(text), ids, work);
    } else {
      encoder_->encode(text, ids, work);
    }
    after_special = false;
  };
  const std::string_view text = ordinary;
  size_t done = 0;
  for (const SpecialMatch& match : added_.find(text, work)) {
    encode_stretch(text.substr(done, match.begin - done));
    ids.push_back(match.id);
    after_special = true;
    done = match.resume;
  }
  encode_stretch(text.substr(done));
  ordinary.clear();
}

std::vector<TokenId> TokenizerModel::encode(const std::vector<TextSpan>& spans, uint64_t& work) const {
  size_t total = 0;
  for (const TextSpan& span : spans) {
    total += span.text.size();
    if (span.text.size() > kMaxTextBytes || total > kMaxTextBytes) {
      fail(ErrorCode::invalid_argument, "{}: text to tokenize: found more than {} bytes, expected less",
           vocabulary_.source, kMaxTextBytes);
    }
  }
  std::vector<TokenId> ids;
  std::string ordinary;
  bool after_special = true;  // SentencePiece puts its space before the first word too
  bool strips = false;
  for (const TextSpan& span : spans) {
    std::string_view text = span.text;
    if (strips) drop_leading_spaces(text);
    if (!text.empty()) strips = false;
    if (span.special == SpecialTokens::as_text) {
      ordinary += text;
      continue;
    }
    size_t done = 0;
    for (const SpecialMatch& match : special_.find(text, work)) {
      ordinary += text.substr(done, match.begin - done);
      flush(ordinary, after_special, ids, work);
      ids.push_back(match.id);
      after_special = true;
      done = match.resume;
      strips = match.strips && match.resume == text.size();
    }
    ordinary += text.substr(done);
  }
  flush(ordinary, after_special, ids, work);
  return ids;
}

}  // namespace thimble
