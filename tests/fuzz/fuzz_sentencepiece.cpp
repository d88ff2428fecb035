// Any bytes given as tokenizer.model end in a vocabulary, or in Error.
#include "base/error.h"
#include "convert/vocabulary.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    thimble::HfFolder folder;
    folder.sentencepiece = thimble::SentencePieceModel::parse(std::as_bytes(std::span(data, size)), "fuzz");
    folder.config.n_vocab = static_cast<int64_t>(folder.sentencepiece->pieces.size()) + 2;
    thimble::GgufMetadata metadata;
    thimble::write_vocabulary(thimble::read_vocabulary(folder), metadata);
  } catch (const thimble::Error&) {
  }
  return 0;
}
