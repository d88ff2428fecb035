// Any bytes given to the readers of reference answers end in Error or in what is written as the same bytes again.
#include <algorithm>

#include "base/error.h"
#include "base/record_file.h"
#include "eval/reference_answers.h"

namespace {

void parse_record(std::span<const std::byte> bytes) {
  try {
    const thimble::ReferenceAnswer answer = thimble::parse_reference(bytes, "fuzz");
    for (size_t i = 0; i < answer.tokens.size(); ++i) {
      if (answer.row(i).ids.size() != answer.n_top) __builtin_trap();
    }
    const std::vector<std::byte> again = thimble::encode_reference(answer);
    if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end())) __builtin_trap();
  } catch (const thimble::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  parse_record(bytes);
  try {
    for (const auto& record : thimble::parse_records(bytes, thimble::kReferenceMagic, "fuzz").records) {
      parse_record(record);
    }
  } catch (const thimble::Error&) {
  }
  return 0;
}
