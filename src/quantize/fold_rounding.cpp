// Folded statistics for a Rounder, computed once for the matrices that share an input.
#include "quantize/fold_rounding.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace thimble {

namespace {

/// The statistics of one input under one fold, kept for the matrices that share both.
class FoldedInput {
 public:
  explicit FoldedInput(const Calibration& calibration) : calibration_(&calibration) {}

  void select(const RowsToRound& job) {
    const std::string_view input = calibration_->input_of(job.tensor);
    if (input == input_ && std::equal(job.factors.begin(), job.factors.end(), factors_.begin(), factors_.end())) return;
    input_ = input;
    factors_.assign(job.factors.begin(), job.factors.end());
    name_ = fmt::format("{}, fold {}", input, ++n_folds_);  // no two folds may share a factorization
    has_moment_ = calibration_->has_second_moment(job.tensor);
    moment_ = has_moment_ ? calibration_->second_moment(job.tensor) : SecondMoment{};
    if (has_moment_) fold_second_moment(job.factors, moment_.values.data());
    const HeldOut heldout = calibration_->heldout(job.tensor);
    rows_.assign(heldout.rows, heldout.rows + heldout.n_rows * heldout.n_in);
    fold_inputs(job.factors, rows_.data(), heldout.n_rows);
    heldout_ = {heldout.n_rows, heldout.n_in, rows_.data()};
  }

  RoundingInput input_for(const RowsToRound& job) const {
    RoundingInput input;
    input.name = job.tensor;
    input.weights = job.weights;
    input.n_out = job.n_rows;
    input.n_in = job.n;
    input.type = job.type;
    input.importance = job.importance;
    input.second_moment = has_moment_ ? &moment_ : nullptr;
    input.input_name = name_;
    input.heldout = heldout_;
    return input;
  }

 private:
  const Calibration* calibration_;  // not owned
  std::string input_, name_;
  int64_t n_folds_ = 0;
  std::vector<float> factors_, rows_;
  bool has_moment_ = false;
  SecondMoment moment_;
  HeldOut heldout_;
};

}  // namespace

RoundRowsFn round_by_method(Rounder* rounder, const Calibration& calibration) {
  const auto folded = std::make_shared<FoldedInput>(calibration);
  return [rounder, folded](const RowsToRound& job, float* out) {
    folded->select(job);
    const Rounded rounded = rounder->round(folded->input_for(job));
    traits(job.type).decode(rounded.bytes.data(), out, job.n_rows * job.n);
  };
}

}  // namespace thimble
