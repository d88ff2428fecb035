// System messages that published templates insert when the caller gives none.
#pragma once

#include <string_view>

namespace thimble {

// tokenizer_config.json of SmolLM2-135M-Instruct, Qwen2-7B-Instruct and Qwen2.5-7B-Instruct.
constexpr std::string_view kSmollm2SystemPrompt =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
constexpr std::string_view kQwen2SystemPrompt = "You are a helpful assistant.";
constexpr std::string_view kQwen25SystemPrompt = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

}  // namespace thimble
