// Loading, folding, and the statistics that go with it.
#include "quantize/tensor_rounder.h"

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "quantize/convert_rows.h"
#include "tensor/grid.h"

namespace thimble {

TensorRounder::TensorRounder(const GgufFile& input, const QuantizeInputs& inputs, const FoldPlan& folds,
                             const ops::Backend& backend, const Task& task)
    : input_(&input), inputs_(&inputs), folds_(&folds), backend_(backend), task_(task), rounder_(backend, {}) {
  task_.progress = {};  // pieces of a tensor are no progress of the file
}

bool TensorRounder::needs_whole(const Recipe& recipe, const GgufTensor& tensor, TensorType type) const {
  if (find_scales(*folds_, tensor.name) != nullptr) return true;
  if (find_grid(type) == nullptr || inputs_->calibration == nullptr) return false;
  if (tensor.view.ne[2] * tensor.view.ne[3] != 1) return false;  // stacked experts have inputs of their own
  if (inputs_->calibration->input_of(tensor.name).empty()) return false;
  return rounding_of(recipe, tensor.name).method != RoundingMethod::search;
}

std::span<const float> TensorRounder::importance(const GgufTensor& tensor) const {
  std::span<const float> values;
  if (inputs_->calibration != nullptr) {
    if (const InputStatistics* found = inputs_->calibration->find(tensor.name)) values = found->mean_square;
  }
  if (values.empty()) {
    const auto found = inputs_->importance.find(std::string(tensor.name));
    if (found == inputs_->importance.end()) return {};
    values = found->second;
  }
  const auto n_cols = static_cast<uint64_t>(tensor.view.ne[0]);
  if (values.size() != n_cols && values.size() != n_cols * static_cast<uint64_t>(tensor.view.ne[2])) {
    fail(ErrorCode::invalid_argument, "importance of tensor {}: found {} values, expected {}, one per column",
         tensor.name, values.size(), n_cols);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && values[i] >= 0.0f) continue;
    fail(ErrorCode::invalid_argument, "importance of tensor {}: column {}: found {}, expected a finite value >= 0",
         tensor.name, i, values[i]);
  }
  return values;
}

void TensorRounder::load(const GgufTensor& tensor, TensorType type) {
  weights_.resize(static_cast<size_t>(tensor.view.n_elements()));
  RowConversion job = {input_->source(), tensor.name, tensor.view, TensorType::f32, {}, type};
  RowConverter converter(*backend_.pool, task_);
  size_t done = 0;
  converter.convert(
      job,
      [&](std::span<const std::byte> piece) {
        std::memcpy(reinterpret_cast<std::byte*>(weights_.data()) + done, piece.data(), piece.size());
        done += piece.size();
      },
      [](int64_t) {});
}

void TensorRounder::load_statistics(const GgufTensor& tensor, const TensorScales* scales) {
  const Calibration* const calibration = inputs_->calibration;
  const std::string input(calibration == nullptr ? std::string_view() : calibration->input_of(tensor.name));
  const std::span<const float> columns = scales == nullptr ? std::span<const float>() : scales->columns;
  const std::span<const float> measured = importance(tensor);
  importance_.assign(measured.begin(), measured.end());
  if (!importance_.empty()) fold_statistic(columns, 2, importance_);
  // Matrices of one input are consumers of one fold site, so their columns agree.
  if (input.empty() || input == statistics_of_) return;
  statistics_of_ = input;
  second_moment_ = {};
  if (calibration->has_second_moment(tensor.name)) {
    second_moment_ = calibration->second_moment(tensor.name);
    fold_second_moment(columns, second_moment_.values.data());
  }
  const HeldOut heldout = calibration->heldout(tensor.name);
  n_heldout_ = heldout.n_rows;
  heldout_.assign(heldout.rows, heldout.rows + heldout.n_rows * heldout.n_in);
  if (n_heldout_ > 0) fold_inputs(columns, heldout_.data(), n_heldout_);
  calibration->release(tensor.name);
}

// Loads, folds, and says how to round.
RoundingSettings TensorRounder::prepare(const Recipe& recipe, const GgufTensor& tensor, TensorType type,
                                        RoundingInput* rounding_input) {
  RoundingInput& job = *rounding_input;
  load(tensor, type);
  const TensorScales* const scales = find_scales(*folds_, tensor.name);
  const int64_t n_rows = tensor.n_dims == 1 ? tensor.view.ne[0] : tensor.view.n_rows();
  const int64_t n_in = tensor.n_dims == 1 ? 1 : tensor.view.ne[0];
  if (scales != nullptr) apply_fold(*scales, weights_.data(), 0, n_rows, n_in);
  job.name = tensor.name;
  job.weights = weights_.data();
  job.n_out = tensor.view.n_rows();
  job.n_in = tensor.view.ne[0];
  job.type = type;
  RoundingSettings settings = rounding_of(recipe, tensor.name);
  if (find_grid(type) != nullptr) {
    load_statistics(tensor, scales);
    job.importance = importance_;
    const bool known = inputs_->calibration != nullptr && !inputs_->calibration->input_of(tensor.name).empty();
    if (known) {
      job.input_name = statistics_of_;
      if (second_moment_.n_in > 0) job.second_moment = &second_moment_;
      job.heldout = {n_heldout_, n_heldout_ > 0 ? job.n_in : 0, heldout_.data()};
    } else {
      settings.method = RoundingMethod::search;  // an embedding multiplies nothing: there is nothing to fall back from
    }
  }
  return settings;
}

Rounded TensorRounder::round(const Recipe& recipe, const GgufTensor& tensor, TensorType type) {
  RoundingInput job;
  const RoundingSettings settings = prepare(recipe, tensor, type, &job);
  return rounder_.round(job, settings, task_);
}

Rounded TensorRounder::round_with_branch(const Recipe& recipe, const GgufTensor& tensor, TensorType type, int64_t k,
                                         OutlierBranch* branch) {
  RoundingInput job;
  const RoundingSettings settings = prepare(recipe, tensor, type, &job);
  Rounded rounded;
  const auto round = [&](const float* weights, std::span<const float> importance, std::span<const int32_t> cleared) {
    RoundingInput part = job;
    part.weights = weights;
    part.importance = importance;
    RoundingSettings how = settings;
    SecondMoment moment;
    std::vector<float> heldout(job.heldout.rows, job.heldout.rows + job.heldout.n_rows * job.heldout.n_in);
    if (cleared.empty()) how.method = RoundingMethod::search;
    if (!cleared.empty() && job.second_moment != nullptr) {
      moment = *job.second_moment;
      clear_second_moment(cleared, moment.values.data(), moment.n_in);
      part.second_moment = &moment;
      part.input_name = {};  // its factors are of no other matrix
    }
    // The branch makes up for what the rest has at these channels.
    clear_channels(cleared, heldout.data(), job.heldout.n_rows, job.heldout.n_in);
    part.heldout.rows = heldout.data();
    rounded = rounder_.round(part, how, task_);
    return std::move(rounded.bytes);
  };
  BranchedTensor result = round_with_outliers({job.weights, job.n_out, job.n_in, type, job.importance}, k, round);
  rounded.bytes = std::move(result.rest);
  *branch = std::move(result.branch);
  return rounded;
}

}  // namespace thimble
