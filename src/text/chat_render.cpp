// Renders conversations as the published Jinja templates do (tests/golden/chat_templates holds their source and what
// they give), without BOS at the start. Where a template raises an exception, this is an Error.
#include "base/error.h"
#include "text/chat_system_prompts.h"
#include "text/chat_template.h"
#include "text/unicode.h"

namespace thimble {

namespace {

using Messages = std::span<const ChatMessage>;

class Prompt {
 public:
  Prompt& control(std::string_view text) { return add(text, true); }
  Prompt& content(std::string_view text) { return add(text, false); }
  std::vector<PromptPiece> take() { return std::move(pieces_); }

 private:
  Prompt& add(std::string_view text, bool is_control) {
    if (text.empty()) return *this;
    if (!pieces_.empty() && pieces_.back().is_control == is_control) {
      pieces_.back().text += text;
    } else {
      pieces_.push_back({std::string(text), is_control});
    }
    return *this;
  }
  std::vector<PromptPiece> pieces_;
};

[[noreturn]] void refuse(ChatTemplate t, std::string_view found, std::string_view expected) {
  fail(ErrorCode::invalid_argument, "chat template {}: found {}, expected {}", chat_template_name(t), found, expected);
}

/// The messages after an optional leading system message, which must alternate user, assistant, user, …
Messages turns_after_system(ChatTemplate t, Messages messages, const std::string*& system) {
  system = nullptr;
  if (messages.front().role == "system") {
    system = &messages.front().content;
    messages = messages.subspan(1);
  }
  if (messages.empty()) refuse(t, "a system message alone", "a user message after it");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string_view expected = i % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected) refuse(t, messages[i].role, expected);
  }
  return messages;
}

void render_chatml(Prompt& prompt, Messages messages, std::string_view default_system, bool generate) {
  if (!default_system.empty() && messages.front().role != "system") {
    prompt.control("<|im_start|>system\n").control(default_system).control("<|im_end|>\n");
  }
  for (const ChatMessage& message : messages) {
    prompt.control("<|im_start|>").control(message.role).control("\n").content(message.content);
    prompt.control("<|im_end|>\n");
  }
  if (generate) prompt.control("<|im_start|>assistant\n");
}

void render_llama2(Prompt& prompt, Messages messages) {
  const std::string* system = nullptr;
  messages = turns_after_system(ChatTemplate::llama2, messages, system);
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string_view content = strip_unicode(messages[i].content);
    if (i % 2 != 0) {
      prompt.control(" ").content(content).control(" </s>");
      continue;
    }
    prompt.control(i == 0 ? "[INST] " : "<s>[INST] ");
    if (i == 0 && system != nullptr) {
      // The template strips system and user message as one string: only the user message's end is at its edge.
      const size_t end = static_cast<size_t>(content.data() + content.size() - messages[i].content.data());
      prompt.control("<<SYS>>\n").content(*system).control("\n<</SYS>>");
      if (!content.empty()) prompt.control("\n\n").content(std::string_view(messages[i].content).substr(0, end));
    } else {
      prompt.content(content);
    }
    prompt.control(" [/INST]");
  }
}

struct MistralStyle {
  std::string_view open;
  std::string_view close;
  std::string_view before_answer;
  std::string_view after_answer;
  bool trims_answer;
  bool has_system;
  bool system_before_last;  // else before the first user message
};

MistralStyle mistral_style(ChatTemplate t) {
  if (t == ChatTemplate::mistral_v01) return {"[INST] ", " [/INST]", "", "</s> ", false, false, false};
  if (t == ChatTemplate::mistral_v02) return {"[INST] ", " [/INST]", "", "</s>", false, false, false};
  if (t == ChatTemplate::mistral_v03) return {"[INST] ", "[/INST]", " ", "</s>", true, true, true};
  return {" [INST] ", " [/INST]", " ", "</s>", false, true, false};
}

void render_mistral(Prompt& prompt, ChatTemplate t, Messages messages) {
  const MistralStyle style = mistral_style(t);
  const std::string* system = nullptr;
  messages = turns_after_system(t, messages, system);
  if (system != nullptr && !style.has_system) refuse(t, "a system message", "user and assistant messages only");
  const size_t with_system = style.system_before_last ? messages.size() - 1 : 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string_view content = messages[i].content;
    if (i % 2 != 0) {
      prompt.control(style.before_answer).content(style.trims_answer ? strip_unicode(content) : content);
      prompt.control(style.after_answer);
      continue;
    }
    prompt.control(style.open);
    if (system != nullptr && i == with_system) prompt.content(*system).control("\n\n");
    prompt.content(content).control(style.close);
  }
}

void render_llama3_turn(Prompt& prompt, std::string_view role, std::string_view content) {
  prompt.control("<|start_header_id|>").control(role).control("<|end_header_id|>\n\n");
  prompt.content(strip_unicode(content)).control("<|eot_id|>");
}

void render_llama3(Prompt& prompt, ChatTemplate t, Messages messages, bool generate) {
  if (t == ChatTemplate::llama3_1) {
    std::string_view system;
    if (messages.front().role == "system") {
      system = strip_unicode(messages.front().content);
      messages = messages.subspan(1);
    }
    // The template's own date where the caller sets none; a changing date would make prompts irreproducible.
    prompt.control("<|start_header_id|>system<|end_header_id|>\n\n");
    prompt.control("Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n");
    prompt.content(system).control("<|eot_id|>");
  }
  for (const ChatMessage& message : messages) render_llama3_turn(prompt, message.role, message.content);
  if (generate) prompt.control("<|start_header_id|>assistant<|end_header_id|>\n\n");
}

void render_phi3(Prompt& prompt, Messages messages, bool generate) {
  for (const ChatMessage& message : messages) {
    prompt.control("<|").control(message.role).control("|>\n").content(message.content).control("<|end|>\n");
  }
  prompt.control(generate ? "<|assistant|>\n" : "<|endoftext|>");
}

void render_gemma(Prompt& prompt, Messages messages, bool generate) {
  const std::string* system = nullptr;
  messages = turns_after_system(ChatTemplate::gemma, messages, system);
  if (system != nullptr) refuse(ChatTemplate::gemma, "a system message", "user and assistant messages only");
  for (size_t i = 0; i < messages.size(); ++i) {
    prompt.control("<start_of_turn>").control(i % 2 == 0 ? "user" : "model").control("\n");
    prompt.content(strip_unicode(messages[i].content)).control("<end_of_turn>\n");
  }
  if (generate) prompt.control("<start_of_turn>model\n");
}

void render_zephyr(Prompt& prompt, Messages messages, bool generate) {
  for (const ChatMessage& message : messages) {
    prompt.control("<|").control(message.role).control("|>\n").content(message.content).control("</s>\n");
  }
  if (generate) prompt.control("<|assistant|>\n");
}

}  // namespace

std::vector<PromptPiece> render_chat(ChatTemplate t, std::span<const ChatMessage> messages,
                                     bool add_generation_prompt) {
  if (messages.empty()) refuse(t, "no message", "at least one");
  for (const ChatMessage& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      refuse(t, fmt::format("role \"{}\"", message.role.substr(0, 64)), "system, user or assistant");
    }
  }
  Prompt prompt;
  switch (t) {
    case ChatTemplate::chatml:
      render_chatml(prompt, messages, "", add_generation_prompt);
      break;
    case ChatTemplate::smollm2:
      render_chatml(prompt, messages, kSmollm2SystemPrompt, add_generation_prompt);
      break;
    case ChatTemplate::qwen2:
      render_chatml(prompt, messages, kQwen2SystemPrompt, add_generation_prompt);
      break;
    case ChatTemplate::qwen2_5:
      render_chatml(prompt, messages, kQwen25SystemPrompt, add_generation_prompt);
      break;
    case ChatTemplate::llama2:
      render_llama2(prompt, messages);
      break;
    case ChatTemplate::llama3:
    case ChatTemplate::llama3_1:
      render_llama3(prompt, t, messages, add_generation_prompt);
      break;
    case ChatTemplate::mistral:
    case ChatTemplate::mistral_v01:
    case ChatTemplate::mistral_v02:
    case ChatTemplate::mistral_v03:
      render_mistral(prompt, t, messages);
      break;
    case ChatTemplate::phi3:
      render_phi3(prompt, messages, add_generation_prompt);
      break;
    case ChatTemplate::gemma:
      render_gemma(prompt, messages, add_generation_prompt);
      break;
    case ChatTemplate::zephyr:
      render_zephyr(prompt, messages, add_generation_prompt);
      break;
  }
  return prompt.take();
}

}  // namespace thimble
