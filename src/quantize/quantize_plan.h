// What will be written, decided before the first weight is read: types, sizes and metadata.
#pragma once

#include <cstdint>
#include <vector>

#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "quantize/quantize.h"
#include "quantize/scheme.h"

namespace thimble {

struct QuantizePlan {
  GgufMetadata metadata;
  std::vector<GgufTensorPlan> tensors;  // those of the input in their order, then those of outlier branches
  std::vector<int64_t> outliers;        // [tensors of the input] channels of the branch, or 0
  std::vector<size_t> branch_at;        // [tensors of the input] where `tensors` has the first of the branch's two
  QuantizeResult result;
};

/// Types of the tensors of `input` in their order. Errors: as choose_types and read_model_config.
std::vector<TypeChoice> types_of(const GgufFile& input, const Recipe& recipe, bool has_importance);

/// Errors: as plan_quantize.
QuantizePlan make_plan(const GgufFile& input, const Recipe& recipe, bool has_importance);

}  // namespace thimble
