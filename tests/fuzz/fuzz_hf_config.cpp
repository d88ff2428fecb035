// Any text given as one of the JSON files of a Hugging Face folder ends in a configuration, a vocabulary, or Error.
#include "base/error.h"
#include "convert/tensor_plan.h"
#include "convert/vocabulary.h"

namespace {

template <typename F>
void attempt(F&& parse) {
  try {
    parse();
  } catch (const thimble::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  attempt([&] {
    const auto config = thimble::HfConfig::parse(text, "fuzz");
    if (config.head_dim < 4096) thimble::llama3_rope_factors(config);
  });
  attempt([&] { thimble::HfGenerationConfig::parse(text, "fuzz"); });
  attempt([&] { thimble::HfTokenizerConfig::parse(text, "fuzz"); });
  attempt([&] {
    thimble::HfFolder folder;
    folder.tokenizer = thimble::HfTokenizer::parse(text, "fuzz");
    folder.config.n_vocab = static_cast<int64_t>(folder.tokenizer->tokens.size()) + 2;
    thimble::GgufMetadata metadata;
    thimble::write_vocabulary(thimble::read_vocabulary(folder), metadata);
  });
  return 0;
}
