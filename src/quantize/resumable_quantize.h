// Quantizing tensor by tensor into a file that survives an interruption (base/resumable_file.h).
#pragma once

#include <span>
#include <string>

#include "quantize/quantize.h"
#include "quantize/quantize_plan.h"
#include "quantize/tensor_rounder.h"

namespace thimble {

/// A file to be made. All outlive the call.
struct ResumableJob {
  const GgufFile* input;
  const Recipe* recipe;
  const QuantizeInputs* inputs;
  const FoldPlan* folds;
  std::string output_path;
  QuantizePlan* plan;
};

/// Writes all tensors of the plans and fills in their results. Jobs differ in recipe, path and plan alone: each tensor
/// is rounded for all of them before the next one is looked at, and tensors that share an input one after the other,
/// whatever their order in the file, so that what is known of an input is read and factored once. An interruption
/// (cancelled, io, full disk) keeps what is finished; other errors keep nothing of their job, as they would come again.
/// `finished` is told each job's number when its file is there. Errors: as quantize().
void write_resumable(std::span<const ResumableJob> jobs, TensorRounder& rounder, ThreadPool& pool, const Task& task,
                     const JobFinished& finished);

}  // namespace thimble
