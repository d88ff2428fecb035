// What a vocabulary entry is for. GGUF (tokenizer.ggml.token_type) and SentencePiece (ModelProto.SentencePiece.Type)
// use the same numbers; undefined (0) exists in GGUF only.
#pragma once

#include <cstdint>
#include <string_view>

namespace thimble {

// These values are embedded in files: never change them.
enum class TokenKind : uint8_t { undefined, normal, unknown, control, user_defined, unused, byte };

/// True for the spelling of a byte token, "<0x0A>".
constexpr bool is_byte_spelling(std::string_view text) noexcept {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f'); };
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>') && is_hex(text[3]) && is_hex(text[4]);
}

}  // namespace thimble
