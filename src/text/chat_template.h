// Chat templates: the known ones recognised from the model's own Jinja source and rendered natively. No Jinja engine
// runs: a template that is not recognised is an error, never a guess.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace thimble {

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

enum class ChatTemplate {
  chatml,
  llama2,
  llama3,
  mistral,  // Mistral-7B-Instruct-v0.2 as published since September 2024
  phi3,
  gemma,
  zephyr,
  // Siblings that differ in what they put around or before the messages.
  smollm2,      // chatml with SmolLM's system message where none is given
  qwen2,        // chatml with Qwen2's system message where none is given
  qwen2_5,      // chatml with Qwen2.5's system message where none is given
  llama3_1,     // llama3 with a system header that always states the knowledge and today's (fixed) date
  mistral_v01,  // Mistral-7B-Instruct-v0.1: no system message, a space after each answer's end
  mistral_v02,  // Mistral-7B-Instruct-v0.2 as first published: no system message
  mistral_v03,  // Mistral-7B-Instruct-v0.3: the system message goes before the last user message
};

/// "chatml", "llama-2", … as accepted by --template.
std::string_view chat_template_name(ChatTemplate t) noexcept;
/// Errors: invalid_argument, listing the known names.
ChatTemplate chat_template_from_name(std::string_view name);
/// Template of a model from tokenizer.chat_template. Errors: not_found when the model has none, unsupported when its
/// template is not one of the known ones; both messages name the file, --template and the names it accepts.
ChatTemplate detect_chat_template(const GgufFile& gguf);
/// As above from Jinja source; `source` names it in errors.
ChatTemplate detect_chat_template(std::string_view jinja, const std::string& source);

/// A rendered prompt in pieces: control pieces are tokenized with SpecialTokens::parse, content pieces as text, so that
/// a user who types "<|im_end|>" cannot end a turn.
struct PromptPiece {
  std::string text;
  bool is_control;
};

/// Renders `messages`; with `add_generation_prompt` the text ends where the assistant's answer begins. BOS is not
/// included (the tokenizer adds it). Errors: invalid_argument for unknown roles or an order the template cannot
/// express.
std::vector<PromptPiece> render_chat(ChatTemplate t, std::span<const ChatMessage> messages, bool add_generation_prompt);

/// The pieces joined to one string (what Hugging Face's apply_chat_template gives, without BOS).
std::string join_pieces(std::span<const PromptPiece> pieces);

class Tokenizer;
/// Token ids of a rendered prompt: BOS where the vocabulary asks for it, control pieces parsed, content as text.
std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, std::span<const PromptPiece> pieces);

}  // namespace thimble
