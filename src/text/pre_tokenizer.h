// Pre-tokenizers of byte-level BPE: where text is cut into words before merging, as linear scanners. The rules are the
// regular expressions that llama.cpp v0.5.0 (src/llama-vocab.cpp) applies for each tokenizer.ggml.pre; a regular
// expression engine is not used because std::regex recurses per character and backtracking makes time quadratic.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

enum class PreTokenizer { llama3, qwen2, gpt2, smollm, deepseek_llm, deepseek_coder, falcon, fallback };

/// Pre-tokenizer for a value of tokenizer.ggml.pre, or nothing when it is not known. Names that split alike share one
/// value: mpt is gpt2; starcoder and refact are smollm.
std::optional<PreTokenizer> pre_tokenizer_from_name(std::string_view name) noexcept;

/// The names that pre_tokenizer_from_name knows, for messages.
std::string pre_tokenizer_names();

/// Buffers of split_words, reused between calls.
struct SplitScratch {
  std::vector<uint32_t> code_points;  // one per character; each byte of invalid UTF-8 is one U+FFFD
  std::vector<uint32_t> offsets;      // byte offset of each character, and the text's size
  std::vector<uint8_t> flags;         // char_flags() of each character
  std::vector<uint32_t> ends;         // end of each word, in characters
  std::vector<uint32_t> next_ends;
};

/// Cuts `text` (less than 2^32 bytes) into words: afterwards word i ends before byte
/// scratch.offsets[scratch.ends[i]] and begins where word i-1 ends. The words cover the text. Time is linear;
/// `work` grows by the number of characters looked at.
void split_words(PreTokenizer pre, std::string_view text, SplitScratch& scratch, uint64_t& work);

}  // namespace thimble
