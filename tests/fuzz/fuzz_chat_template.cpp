// Fuzzes chat templates: recognition on arbitrary bytes, and rendering of arbitrary conversations in every known
// format. Content must come out as content, whatever it spells.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/tokenizer_fixture.h"

namespace {

using thimble::ChatMessage;
using thimble::ChatTemplate;

void require(bool holds) {
  if (!holds) std::abort();
}

// Messages are separated by byte 0x1E; the first byte of each chooses its role.
std::vector<ChatMessage> read_messages(std::string_view text) {
  constexpr const char* kRoles[] = {"user", "assistant", "system", "tool"};
  std::vector<ChatMessage> messages;
  while (!text.empty()) {
    const size_t end = text.find('\x1E');
    const std::string_view part = text.substr(0, end);
    if (!part.empty()) messages.push_back({kRoles[part[0] & 3], std::string(part.substr(1))});
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return messages;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const thimble::Tokenizer tokenizer = thimble::tokenizer_from(thimble::byte_level_fixture("gpt-2").metadata());
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    const ChatTemplate chat = thimble::detect_chat_template(text, "fuzz");
    require(thimble::chat_template_from_name(thimble::chat_template_name(chat)) == chat);
  } catch (const thimble::Error& e) {
    require(e.code() == thimble::ErrorCode::unsupported);
  }
  const std::vector<ChatMessage> messages = read_messages(text);
  constexpr int kLast = static_cast<int>(ChatTemplate::mistral_v03);
  try {
    const auto chat = static_cast<ChatTemplate>(data[0] % (kLast + 1));
    const std::vector<thimble::PromptPiece> pieces = thimble::render_chat(chat, messages, (data[0] & 128) != 0);
    for (size_t i = 0; i < pieces.size(); ++i) {
      require(!pieces[i].text.empty());
      require(i == 0 || pieces[i].is_control != pieces[i - 1].is_control);
      require(!pieces[i].is_control || pieces[i].text.find('\x01') == std::string::npos);
    }
    const std::vector<int32_t> ids = thimble::encode_chat(tokenizer, pieces);
    for (const int32_t id : ids) require(id >= 0 && id < tokenizer.n_vocab());
  } catch (const thimble::Error& e) {
    require(e.code() == thimble::ErrorCode::invalid_argument);
  }
  return 0;
}
