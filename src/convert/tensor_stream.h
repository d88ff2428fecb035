// Converts tensor data between float types on its way from the mapped folder into the writer, a few rows at a time.
#pragma once

#include <cstdint>
#include <string>

#include "base/progress.h"
#include "convert/tensor_plan.h"
#include "format/gguf_writer.h"

namespace thimble {

/// Bytes done and in all of one conversion.
struct StreamProgress {
  uint64_t done = 0;
  uint64_t total = 0;
};

/// Appends the tensor of `job`. `source` names the weights in errors. Numbers are rounded to nearest even; infinities
/// and NaN of the folder are kept. Errors: unsupported, when a finite number is beyond f16; cancelled; as
/// GgufWriter::write.
void stream_tensor(const TensorJob& job, const std::string& source, GgufWriter& writer, const Task& task,
                   StreamProgress& progress);

}  // namespace thimble
