// The public face of the room: Tokenizer over TokenizerModel, and UTF-8-safe decoding.
#include "text/tokenizer.h"

#include "text/tokenizer_model.h"
#include "text/unicode.h"

namespace thimble {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// Moves the whole characters of `pending` to `text`; each maximal invalid subpart becomes one U+FFFD. With `last`
/// nothing stays pending.
void take_characters(std::string& pending, std::string& text, bool last) {
  std::string_view rest = pending;
  while (!rest.empty()) {
    const Utf8Step step = decode_utf8(rest);
    if (step.incomplete && !last) break;
    text += step.valid ? rest.substr(0, step.length) : kReplacement;
    rest.remove_prefix(step.length);
  }
  pending.erase(0, pending.size() - rest.size());
}

}  // namespace

Tokenizer::Tokenizer(const GgufFile& gguf) : model_(std::make_unique<TokenizerModel>(gguf)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

int32_t Tokenizer::n_vocab() const noexcept {
  return model_->vocabulary().size();
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  uint64_t work = 0;
  return model_->encode({{text, special}}, work);
}

std::vector<TokenId> Tokenizer::encode_prompt(std::string_view text, SpecialTokens special) const {
  std::vector<TokenId> ids = encode(text, special);
  if (adds_bos()) ids.insert(ids.begin(), bos());
  if (adds_eos()) ids.push_back(eos());
  return ids;
}

std::string_view Tokenizer::piece(TokenId id, bool show_control) const noexcept {
  const Vocabulary& vocabulary = model_->vocabulary();
  if (!vocabulary.contains(id)) return {};
  const TokenKind kind = vocabulary.kind(id);
  if (!show_control && (kind == TokenKind::control || kind == TokenKind::unknown)) return {};
  return vocabulary.pieces[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool show_control) const {
  StreamDecoder decoder(*this, show_control);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

TokenId Tokenizer::bos() const noexcept {
  return model_->vocabulary().bos;
}
TokenId Tokenizer::eos() const noexcept {
  return model_->vocabulary().eos;
}
bool Tokenizer::adds_bos() const noexcept {
  return model_->vocabulary().add_bos;
}
bool Tokenizer::adds_eos() const noexcept {
  return model_->vocabulary().add_eos;
}

bool Tokenizer::is_control(TokenId id) const noexcept {
  const Vocabulary& vocabulary = model_->vocabulary();
  return vocabulary.contains(id) && vocabulary.kind(id) == TokenKind::control;
}

bool Tokenizer::is_end_of_generation(TokenId id) const noexcept {
  const Vocabulary& vocabulary = model_->vocabulary();
  return vocabulary.contains(id) && vocabulary.ends_generation[static_cast<size_t>(id)] != 0;
}

TokenId Tokenizer::find(std::string_view text) const noexcept {
  return model_->vocabulary().find(text);
}
bool Tokenizer::strips_leading_space() const noexcept {
  return model_->vocabulary().add_space_prefix;
}

std::string StreamDecoder::push(TokenId id) {
  std::string_view piece = tokenizer_->piece(id, show_control_);
  if (at_start_ && !piece.empty() && !tokenizer_->is_control(id)) {
    if (piece.front() == ' ') piece.remove_prefix(1);
    at_start_ = false;
  }
  pending_ += piece;
  std::string text;
  take_characters(pending_, text, false);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  take_characters(pending_, text, true);
  return text;
}

}  // namespace thimble
