// Any bytes given to the GGUF parser end in a file whose views can be read, or in Error.
#include "base/error.h"
#include "format/gguf_summary.h"
#include "format/gguf_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = thimble::GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
    thimble::GgufMetadata metadata;
    for (const auto& kv : file.metadata()) metadata.set(kv);
    std::vector<thimble::GgufTensorPlan> plans;
    for (const auto& t : file.tensors()) plans.push_back({std::string(t.name), t.view.type, t.n_dims, t.view.ne});
    const auto copy = thimble::gguf_header(metadata, plans);  // what was read can be written
    if (thimble::gguf_file_bytes(metadata, plans) < copy.size() + thimble::summarize(file).totals.bytes)
      __builtin_trap();
  } catch (const thimble::Error&) {
  }
  return 0;
}
