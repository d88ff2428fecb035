// Choice and making of outlier branches.
#include "quantize/outlier_branch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/checked.h"
#include "base/error.h"
#include "base/float16.h"
#include "tensor/grid.h"

namespace thimble {

namespace {

constexpr uint64_t kFileAlignment = 32;

// Elements that share a scale; a tensor of plain floats has none that do.
int64_t sub_block_elems(TensorType type) noexcept {
  const GridTraits* grid = find_grid(type);
  return grid == nullptr ? 1 : grid->sub_elems;
}

// Types without an offset have levels on both sides of zero: their range is that of the magnitude.
bool has_offset(TensorType type) noexcept {
  const GridTraits* grid = find_grid(type);
  return grid != nullptr && grid->levels[0] == 0.0f;
}

// What a sub-block spans, and without which element it would span least.
struct Span {
  double range = 0.0;
  double without = 0.0;
  int64_t extreme = 0;
};

Span magnitude_span(const float* x, int64_t n) noexcept {
  Span span;
  for (int64_t i = 0; i < n; ++i) {
    const double magnitude = std::fabs(static_cast<double>(x[i]));
    if (magnitude > span.range) {
      span.without = span.range;
      span.range = magnitude;
      span.extreme = i;
    } else {
      span.without = std::max(span.without, magnitude);
    }
  }
  return span;
}

Span offset_span(const float* x, int64_t n) noexcept {
  double low[2] = {HUGE_VAL, HUGE_VAL};  // smallest and second smallest
  double high[2] = {-HUGE_VAL, -HUGE_VAL};
  int64_t lowest = 0;
  int64_t highest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double value = x[i];
    if (value < low[0]) {
      low[1] = low[0];
      low[0] = value;
      lowest = i;
    } else {
      low[1] = std::min(low[1], value);
    }
    if (value > high[0]) {
      high[1] = high[0];
      high[0] = value;
      highest = i;
    } else {
      high[1] = std::max(high[1], value);
    }
  }
  const double without_low = high[0] - low[1];
  const double without_high = high[1] - low[0];
  const bool take_high = without_high < without_low;
  return {high[0] - low[0], take_high ? without_high : without_low, take_high ? highest : lowest};
}

void add_sub_block(const RoundedMatrix& tensor, int64_t row, int64_t first, std::span<const float> mean_square,
                   std::vector<double>& gains) {
  const int64_t n = std::min(sub_block_elems(tensor.type), tensor.n_in - first);
  const float* x = tensor.weights + row * tensor.n_in + first;
  const float* q = tensor.rounded + row * tensor.n_in + first;
  double total = 0.0;
  double extreme_error = 0.0;
  const Span span = has_offset(tensor.type) ? offset_span(x, n) : magnitude_span(x, n);
  for (int64_t i = 0; i < n; ++i) {
    const auto channel = static_cast<size_t>(first + i);
    const double difference = static_cast<double>(x[i]) - static_cast<double>(q[i]);
    const double weight = mean_square.empty() ? 1.0 : static_cast<double>(mean_square[channel]);
    const double error = weight * difference * difference;
    gains[channel] += error;
    total += error;
    if (i == span.extreme) extreme_error = error;
  }
  if (n < 2 || !(span.range > 0.0)) return;
  const double ratio = span.without / span.range;
  gains[static_cast<size_t>(first + span.extreme)] += (1.0 - ratio * ratio) * (total - extreme_error);
}

std::optional<uint64_t> padded(std::optional<uint64_t> bytes) noexcept {
  const auto more = bytes ? checked_add(*bytes, kFileAlignment - 1) : std::nullopt;
  return more ? std::optional<uint64_t>(*more / kFileAlignment * kFileAlignment) : std::nullopt;
}

}  // namespace

std::vector<double> outlier_gains(const RoundedMatrix& tensor, std::span<const float> mean_square) {
  std::vector<double> gains(static_cast<size_t>(tensor.n_in), 0.0);
  const int64_t step = sub_block_elems(tensor.type);
  for (int64_t row = 0; row < tensor.n_out; ++row) {
    for (int64_t first = 0; first < tensor.n_in; first += step) add_sub_block(tensor, row, first, mean_square, gains);
  }
  return gains;
}

std::vector<int32_t> worst_channels(std::span<const double> gains, int64_t k) {
  std::vector<int32_t> order(gains.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min(static_cast<size_t>(std::max<int64_t>(k, 0)), order.size());
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return gains[static_cast<size_t>(a)] > gains[static_cast<size_t>(b)]; });
  order.resize(count);
  std::sort(order.begin(), order.end());
  return order;
}

uint64_t outlier_bytes(int64_t k, int64_t n_out, int64_t n_in) {
  if (k < 0 || k > n_in || n_out < 1) {
    fail(ErrorCode::invalid_argument, "outlier branch: found {} channels of a matrix of {} columns and {} rows", k,
         n_in, n_out);
  }
  const auto channels = static_cast<uint64_t>(k);
  const auto index = padded(checked_mul(channels, sizeof(int32_t)));
  const auto elements = checked_mul(channels, static_cast<uint64_t>(n_out));
  const auto values = padded(elements ? checked_mul(*elements, sizeof(uint16_t)) : std::nullopt);
  const auto total = index && values ? checked_add(*index, *values) : std::nullopt;
  if (!total) fail(ErrorCode::invalid_argument, "outlier branch: {} channels of {} rows do not fit 64 bits", k, n_out);
  return *total;
}

int64_t outliers_in_budget(double bits, int64_t n_out, int64_t n_in) {
  if (!(bits >= 0.0)) {
    fail(ErrorCode::invalid_argument, "outlier branch: found a budget of {} bits per weight, expected 0 or more", bits);
  }
  const double budget = bits / 8.0 * static_cast<double>(n_in) * static_cast<double>(n_out);
  int64_t fits = 0;
  int64_t limit = n_in;
  while (fits < limit) {
    const int64_t middle = fits + (limit - fits + 1) / 2;
    if (static_cast<double>(outlier_bytes(middle, n_out, n_in)) <= budget) {
      fits = middle;
    } else {
      limit = middle - 1;
    }
  }
  return fits;
}

void clear_channels(std::span<const int32_t> index, float* weights, int64_t n_out, int64_t n_in) noexcept {
  for (int64_t row = 0; row < n_out; ++row) {
    for (const int32_t channel : index) weights[row * n_in + channel] = 0.0f;
  }
}

void clear_importance(std::span<const int32_t> index, std::span<float> importance) noexcept {
  for (const int32_t channel : index) importance[static_cast<size_t>(channel)] = 0.0f;
}

void clear_second_moment(std::span<const int32_t> index, float* second_moment, int64_t n_in) noexcept {
  for (const int32_t channel : index) {
    std::fill_n(second_moment + channel * n_in, n_in, 0.0f);
    for (int64_t i = 0; i < n_in; ++i) second_moment[i * n_in + channel] = 0.0f;
  }
}

OutlierBranch make_outliers(std::span<const int32_t> index, const RoundedMatrix& tensor) {
  OutlierBranch branch;
  branch.index.assign(index.begin(), index.end());
  branch.values.reserve(index.size() * static_cast<size_t>(tensor.n_out));
  constexpr float kLargest = 65504.0f;
  for (int64_t row = 0; row < tensor.n_out; ++row) {
    for (const int32_t channel : index) {
      const int64_t at = row * tensor.n_in + channel;
      branch.values.push_back(f32_to_f16(std::clamp(tensor.weights[at] - tensor.rounded[at], -kLargest, kLargest)));
    }
  }
  return branch;
}

BranchedTensor round_with_outliers(const OutlierInput& input, int64_t k, RoundMatrixFn round) {
  const auto decode = [&](const std::vector<std::byte>& bytes) {
    std::vector<float> out(static_cast<size_t>(input.n_out * input.n_in));
    traits(input.type).decode(bytes.data(), out.data(), input.n_out * input.n_in);
    return out;
  };
  BranchedTensor result;
  result.rest = round(input.weights, input.importance, {});
  if (k <= 0) return result;
  std::vector<float> rounded = decode(result.rest);
  const RoundedMatrix plain = {input.weights, rounded.data(), input.n_out, input.n_in, input.type};
  const std::vector<int32_t> index = worst_channels(outlier_gains(plain, input.importance), k);
  std::vector<float> cleared(input.weights, input.weights + input.n_out * input.n_in);
  std::vector<float> importance(input.importance.begin(), input.importance.end());
  clear_channels(index, cleared.data(), input.n_out, input.n_in);
  if (!importance.empty()) clear_importance(index, importance);
  result.rest = round(cleared.data(), importance, index);
  rounded = decode(result.rest);
  result.branch = make_outliers(index, {input.weights, rounded.data(), input.n_out, input.n_in, input.type});
  return result;
}

std::array<GgufTensorPlan, 2> outlier_tensors(std::string_view name, int64_t k, int64_t n_out) {
  return {GgufTensorPlan{fmt::format("{}.outlier_index", name), TensorType::i32, 1, {k, 1, 1, 1}},
          GgufTensorPlan{fmt::format("{}.outlier", name), TensorType::f16, 2, {k, n_out, 1, 1}}};
}

}  // namespace thimble
