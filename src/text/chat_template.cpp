// Names and recognition of chat templates. Recognition looks for the expressions that make up a template, with spacing,
// quoting and newline escapes evened out, and refuses neighbours that would render differently.
#include "text/chat_template.h"

#include <array>

#include "base/error.h"
#include "text/chat_system_prompts.h"
#include "text/tokenizer_model.h"

namespace thimble {

namespace {

struct TemplateName {
  ChatTemplate chat;
  std::string_view name;
};

constexpr auto kTemplateNames = std::to_array<TemplateName>({
    {ChatTemplate::chatml, "chatml"},
    {ChatTemplate::llama2, "llama-2"},
    {ChatTemplate::llama3, "llama-3"},
    {ChatTemplate::mistral, "mistral"},
    {ChatTemplate::phi3, "phi-3"},
    {ChatTemplate::gemma, "gemma"},
    {ChatTemplate::zephyr, "zephyr"},
    {ChatTemplate::smollm2, "smollm2"},
    {ChatTemplate::qwen2, "qwen2"},
    {ChatTemplate::qwen2_5, "qwen2.5"},
    {ChatTemplate::llama3_1, "llama-3.1"},
    {ChatTemplate::mistral_v01, "mistral-v0.1"},
    {ChatTemplate::mistral_v02, "mistral-v0.2-first"},
    {ChatTemplate::mistral_v03, "mistral-v0.3"},
});

std::string all_names() {
  std::string names;
  for (const TemplateName& known : kTemplateNames) {
    if (!names.empty()) names += ", ";
    names += known.name;
  }
  return names;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string result;
  size_t pos = 0;
  for (size_t hit = text.find(from); hit != std::string::npos; hit = text.find(from, pos)) {
    result.append(text, pos, hit - pos).append(to);
    pos = hit + from.size();
  }
  text = result.append(text, pos);
}

/// Jinja source evened out: double quotes, escaped newlines, attribute access, no space around operators.
class Source {
 public:
  explicit Source(std::string_view jinja) : text_(jinja) {
    replace_all(text_, "\\n", "\n");
    replace_all(text_, "\"", "'");
    replace_all(text_, "message.role", "message['role']");
    replace_all(text_, "message.content", "message['content']");
    replace_all(text_, " + ", "+");
    replace_all(text_, " +", "+");
    replace_all(text_, "+ ", "+");
    replace_all(text_, " | ", "|");
    // 'a'+'b' is 'ab'.
    replace_all(text_, "'+'", "");
  }
  bool has(std::string_view part) const { return text_.find(part) != std::string::npos; }
  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

bool detect_chatml(const Source& source, ChatTemplate& chat) {
  if (!source.has("'<|im_start|>'+message['role']+'\n'+message['content']+'<|im_end|>")) return false;
  if (source.has("<|im_sep|>") || source.has("<end_of_utterance>") || source.has("<think>")) return false;
  chat = ChatTemplate::chatml;
  // A literal system turn is what the template says when the caller gives no system message.
  constexpr std::string_view kTurn = "<|im_start|>system\n";
  const std::string& text = source.text();
  for (size_t hit = text.find(kTurn); hit != std::string::npos; hit = text.find(kTurn, hit + 1)) {
    const size_t begin = hit + kTurn.size();
    const size_t end = text.find("<|im_end|>", begin);
    const size_t quote = text.find('\'', begin);
    if (end == std::string::npos || quote < end) continue;  // the message comes from the caller
    const std::string_view prompt = std::string_view(text).substr(begin, end - begin);
    if (prompt == kSmollm2SystemPrompt) {
      chat = ChatTemplate::smollm2;
    } else if (prompt == kQwen2SystemPrompt) {
      chat = ChatTemplate::qwen2;
    } else if (prompt == kQwen25SystemPrompt) {
      chat = ChatTemplate::qwen2_5;
    } else {
      return false;
    }
  }
  return true;
}

bool detect_inst(const Source& source, ChatTemplate& chat) {
  if (source.has("[SYSTEM_PROMPT]")) return false;
  if (source.has("<<SYS>>")) {
    chat = ChatTemplate::llama2;
    return source.has("bos_token+'[INST] '+content.strip()+' [/INST]'") &&
           source.has("' '+content.strip()+' '+eos_token");
  }
  if (source.has("' [INST] '+system_message+'\n\n'+message['content']+' [/INST]'")) {
    chat = ChatTemplate::mistral;
    return source.has("' '+message['content']+eos_token");
  }
  if (source.has("[AVAILABLE_TOOLS]")) {
    chat = ChatTemplate::mistral_v03;
    return source.has("'[INST] '+message['content']+'[/INST]'") && source.has("' '+message['content']|trim+eos_token");
  }
  chat = source.has("message['content']+eos_token+' '") ? ChatTemplate::mistral_v01 : ChatTemplate::mistral_v02;
  return source.has("'[INST] '+message['content']+' [/INST]'") && source.has("message['content']+eos_token") &&
         !source.has("bos_token+'[INST]");
}

bool detect_header(const Source& source, ChatTemplate& chat) {
  chat = source.has("Cutting Knowledge Date: December 2023") ? ChatTemplate::llama3_1 : ChatTemplate::llama3;
  return source.has(
      "'<|start_header_id|>'+message['role']+'<|end_header_id|>\n\n'+message['content']|trim+'<|eot_id|>'");
}

bool detect(const Source& source, ChatTemplate& chat) {
  if (source.has("<|im_start|>")) return detect_chatml(source, chat);
  if (source.has("[INST]")) return detect_inst(source, chat);
  if (source.has("<|start_header_id|>")) return detect_header(source, chat);
  if (source.has("<|end|>")) {
    chat = ChatTemplate::phi3;
    return source.has("<|user|>\n'+message['content']+'<|end|>\n") ||
           source.has("'<|'+message['role']+'|>\n'+message['content']+'<|end|>\n'");
  }
  if (source.has("<|user|>")) {
    chat = ChatTemplate::zephyr;
    return source.has("'<|user|>\n'+message['content']+eos_token") &&
           source.has("'<|assistant|>\n'+message['content']+eos_token");
  }
  if (source.has("<start_of_turn>")) {
    chat = ChatTemplate::gemma;
    return source.has("'<start_of_turn>'+role+'\n'+message['content']|trim+'<end_of_turn>\n'");
  }
  return false;
}

}  // namespace

std::string_view chat_template_name(ChatTemplate t) noexcept {
  for (const TemplateName& known : kTemplateNames) {
    if (known.chat == t) return known.name;
  }
  return "?";
}

ChatTemplate chat_template_from_name(std::string_view name) {
  for (const TemplateName& known : kTemplateNames) {
    if (known.name == name) return known.chat;
  }
  fail(ErrorCode::invalid_argument, "--template: found \"{}\", expected one of {}", name.substr(0, 64), all_names());
}

ChatTemplate detect_chat_template(const GgufFile& gguf) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  if (gguf.find(kKey) == nullptr) {
    fail(ErrorCode::not_found, "{}: key {}: missing; choose a chat template with --template ({})", gguf.source(), kKey,
         all_names());
  }
  return detect_chat_template(gguf.get_string(kKey), gguf.source());
}

ChatTemplate detect_chat_template(std::string_view jinja, const std::string& source) {
  ChatTemplate chat = ChatTemplate::chatml;
  if (!detect(Source(jinja), chat)) {
    fail(ErrorCode::unsupported, "{}: its chat template is none of the known ones; choose one with --template ({})",
         source, all_names());
  }
  return chat;
}

std::string join_pieces(std::span<const PromptPiece> pieces) {
  std::string text;
  for (const PromptPiece& piece : pieces) text += piece.text;
  return text;
}

std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, std::span<const PromptPiece> pieces) {
  std::vector<TextSpan> spans;
  for (const PromptPiece& piece : pieces) {
    spans.push_back({piece.text, piece.is_control ? SpecialTokens::parse : SpecialTokens::as_text});
  }
  uint64_t work = 0;
  std::vector<int32_t> ids = tokenizer.model().encode(spans, work);
  if (tokenizer.adds_bos()) ids.insert(ids.begin(), tokenizer.bos());
  return ids;
}

}  // namespace thimble
