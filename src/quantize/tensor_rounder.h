// One tensor of a float model to the bytes of its new type: loaded as floats, folded, rounded by a recipe's method
// with what calibration knows of its inputs, brought into the same coordinates. Memory: one tensor, one input's second
// moment and its factors, which serve all recipes that ask for them.
#pragma once

#include <string>
#include <vector>

#include "ops/ops.h"
#include "quantize/outlier_branch.h"
#include "quantize/quantize.h"
#include "quantize/rounding.h"

namespace thimble {

class TensorRounder {
 public:
  /// All but `task` must outlive it. `folds` are all factors to be applied. Errors: as Rounder.
  TensorRounder(const GgufFile& input, const QuantizeInputs& inputs, const FoldPlan& folds, const ops::Backend& backend,
                const Task& task);

  /// Whether rounding needs the tensor as a whole; otherwise its rows can be converted one by one (convert_rows.h).
  bool needs_whole(const Recipe& recipe, const GgufTensor& tensor, TensorType type) const;

  /// Errors: corrupt (NaN, infinity), unsupported (out of range), as Rounder::round and Calibration::second_moment.
  Rounded round(const Recipe& recipe, const GgufTensor& tensor, TensorType type);

  /// The same with an outlier branch of k > 0 channels of a matrix: the result is that of the rest. Channels are chosen
  /// by plain search; second-order methods do not see them. Losses are those of the matrix without these channels.
  Rounded round_with_branch(const Recipe& recipe, const GgufTensor& tensor, TensorType type, int64_t k,
                            OutlierBranch* branch);

  /// Mean squares of the input of a tensor, as they were measured; empty when nothing is known. Errors:
  /// invalid_argument when they do not fit the tensor.
  std::span<const float> importance(const GgufTensor& tensor) const;

 private:
  void load(const GgufTensor& tensor, TensorType type);
  RoundingSettings prepare(const Recipe& recipe, const GgufTensor& tensor, TensorType type, RoundingInput* job);
  void load_statistics(const GgufTensor& tensor, const TensorScales* scales);

  const GgufFile* input_;
  const QuantizeInputs* inputs_;
  const FoldPlan* folds_;
  ops::Backend backend_;
  Task task_;
  Rounder rounder_;
  std::vector<float> weights_;
  // Of one input, folded.
  std::string statistics_of_;
  SecondMoment second_moment_;
  std::vector<float> importance_;
  std::vector<float> heldout_;
  int64_t n_heldout_ = 0;
};

}  // namespace thimble
