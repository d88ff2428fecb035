// Flags of thimble quantize that ask for a size instead of a scheme, and what follows from them: sensitivities measured
// (or read from their cache), types allocated, the result verified.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "quantize/allocation_plan.h"
#include "quantize/sensitivity.h"
#include "verbs.h"

namespace thimble::cli {

struct AllocationOptions {
  std::string target_size;
  double target_bpw = 0, target_body_bpw = 0;  // 0: not asked for
  std::string device;                          // profile
  std::vector<std::string> types;
  std::string sensitivity;  // cache
  std::vector<std::string> data;
  int64_t n_tokens = 4096;
  bool quick = false;

  bool wanted() const noexcept { return !target_size.empty() || target_bpw > 0 || target_body_bpw > 0; }
};

void add_allocation_flags(CLI::App& verb, AllocationOptions& options);

/// What the allocation was made from and what it is worth.
struct AllocationReport {
  AllocationPlan plan;
  double measured = 0;  // mean divergence of the whole result on the same tokens
  int64_t n_scored = 0;
};

/// How the pipeline will round and what it will write.
struct AllocationPipeline {
  RoundFn round;
  std::string rounding_key;  // identifies method and calibration
  Importance importance;
  PlanFn plan;
};

/// Measures and allocates. `base` gives the types of tensors that are not allocated. Errors: invalid_argument for
/// flags that contradict each other, no data, a target that cannot be reached; as measure_sensitivity.
AllocationReport allocate_types(const AllocationOptions& options, const GgufFile& input, const Recipe& base,
                                const AllocationPipeline& pipeline, const Context& context, ThreadPool& pool);

}  // namespace thimble::cli
