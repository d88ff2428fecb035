// Fuzzes encoding and decoding. The first byte chooses a small vocabulary built in memory and how specials are treated,
// the rest is the text: its tokens' bytes must give the text back, and decoding must give valid UTF-8.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "text/tokenizer_fixture.h"

namespace {

using thimble::SpecialTokens;
using thimble::Tokenizer;

std::vector<Tokenizer> make_tokenizers() {
  std::vector<Tokenizer> tokenizers;
  tokenizers.push_back(thimble::tokenizer_from(thimble::sentencepiece_fixture().metadata()));
  for (const char* pre :
       {"llama-bpe", "qwen2", "gpt-2", "smollm", "deepseek-llm", "deepseek-coder", "falcon", "default"}) {
    tokenizers.push_back(thimble::tokenizer_from(thimble::byte_level_fixture(pre).metadata()));
  }
  thimble::VocabularyFixture added = thimble::byte_level_fixture("mpt");
  for (const char* text : {"  ", "   ", "    ", "aab", "ab", "bba"}) added.add(text, thimble::TokenKind::user_defined);
  tokenizers.push_back(thimble::tokenizer_from(added.metadata()));
  return tokenizers;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<Tokenizer> tokenizers = make_tokenizers();
  if (size == 0) return 0;
  const Tokenizer& tokenizer = tokenizers[data[0] % tokenizers.size()];
  const bool parse = (data[0] & 128) != 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);

  const std::vector<thimble::TokenId> ids =
      tokenizer.encode(text, parse ? SpecialTokens::parse : SpecialTokens::as_text);
  std::string bytes;
  for (const thimble::TokenId id : ids) {
    require(id >= 0 && id < tokenizer.n_vocab());
    require(parse || !tokenizer.is_control(id));
    bytes += tokenizer.piece(id);
  }
  require(thimble::is_utf8(tokenizer.decode(ids, true)));
  // SentencePiece spells a space with U+2581, so that character itself reads back as a space.
  const bool ambiguous = tokenizer.strips_leading_space() && text.find("\xE2\x96\x81") != std::string_view::npos;
  if (!parse && !ambiguous) {
    const bool prefixed = tokenizer.strips_leading_space() && !text.empty();
    require(std::string_view(bytes).substr(prefixed ? 1 : 0) == text);
    if (thimble::is_utf8(text)) require(tokenizer.decode(ids) == text);
  }
  return 0;
}
