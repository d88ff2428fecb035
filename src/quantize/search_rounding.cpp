// One tensor through the same row conversion that quantize() streams.
#include <cstring>

#include "quantize/convert_rows.h"
#include "quantize/sensitivity.h"

namespace thimble {

RoundFn search_rounding(std::string source, const Importance& importance, ThreadPool& pool, Task task) {
  task.progress = {};  // pieces of a tensor are no step of a measurement
  return [source = std::move(source), &importance, &pool, task = std::move(task)](const GgufTensor& tensor,
                                                                                  TensorType type) {
    const auto bytes = row_bytes(type, static_cast<uint64_t>(tensor.view.ne[0])).value_or(0);
    CandidateWeights out{type, AlignedBuffer<std::byte>(bytes * static_cast<size_t>(tensor.view.n_rows()))};
    const auto found = importance.find(std::string(tensor.name));
    RowConversion job = {source, tensor.name, tensor.view, type, {}};
    if (found != importance.end()) job.importance = found->second;
    RowConverter converter(pool, task);
    size_t done = 0;
    converter.convert(
        job,
        [&](std::span<const std::byte> piece) {
          std::memcpy(out.data.data() + done, piece.data(), piece.size());
          done += piece.size();
        },
        [](int64_t) {});
    return out;
  };
}

}  // namespace thimble
