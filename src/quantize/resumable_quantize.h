// Quantizing tensor by tensor into a file that survives an interruption (base/resumable_file.h).
#pragma once

#include <string>
#include <vector>

#include "format/gguf_writer.h"
#include "quantize/quantize.h"
#include "quantize/tensor_rounder.h"

namespace thimble {

/// Everything decided before the first weight is read.
struct QuantizePlan {
  GgufMetadata metadata;
  std::vector<GgufTensorPlan> tensors;  // those of the input in their order, then those of outlier branches
  std::vector<int64_t> outliers;        // [tensors of the input] channels of the branch, or 0
  std::vector<size_t> branch_at;        // [tensors of the input] where `tensors` has the first of the branch's two
  QuantizeResult result;
};

/// What the run works on. All outlive the call.
struct ResumableJob {
  const GgufFile* input;
  const Recipe* recipe;
  const QuantizeInputs* inputs;
  const FoldPlan* folds;
};

/// Writes all tensors of the plan and fills in its result. Tensors that share an input are rounded one after the other,
/// whatever their order in the file. An interruption (cancelled, io, full disk) keeps what is finished; other errors
/// keep nothing, as they would come again. Errors: as quantize().
void write_resumable(const ResumableJob& job, const std::string& output_path, QuantizePlan& plan,
                     TensorRounder& rounder, ThreadPool& pool, const Task& task);

}  // namespace thimble
