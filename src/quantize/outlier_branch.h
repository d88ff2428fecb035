// Outlier branch: the k input channels of a matrix that its type serves worst, kept in f16 beside the quantized rest
// (docs/FORMAT.md). The mixed decomposition of LLM.int8() (arXiv 2208.07339) and the sensitive weights of SpQR (arXiv
// 2306.03078), by whole channels, which a GGUF tensor and an ordinary matmul can hold.
//
// How a pipeline uses it, in this order: round the tensor as always; outlier_gains and worst_channels; clear_channels
// in the weights (clear_importance, clear_second_moment in what weighs them); round again; make_outliers.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "format/gguf_writer.h"
#include "tensor/tensor_type.h"

namespace thimble {

/// Weights of a tensor W [n_out, n_in], row after row, and what its type makes of them.
struct RoundedMatrix {
  const float* weights;  // [n_out, n_in]
  const float* rounded;  // [n_out, n_in], decoded
  int64_t n_out, n_in;
  TensorType type;
};

/// By how much the weighted squared error sum mean_square_j (w - q)^2 is expected to fall for each input channel [n_in]
/// that leaves the tensor: its own error, and, where it is the extreme element of its sub-block, what its neighbours
/// gain from the shorter range (their error goes with the square of the range). `mean_square` [n_in] or empty (all 1).
std::vector<double> outlier_gains(const RoundedMatrix& tensor, std::span<const float> mean_square);

/// The k channels of largest gain, ascending; of equal ones the first. k is cut to the number of channels.
std::vector<int32_t> worst_channels(std::span<const double> gains, int64_t k);

/// Bytes of a branch of k channels in a file: index and values, each padded to 32 bytes. 0 for k = 0.
/// Errors: invalid_argument (k outside 0 .. n_in, n_out < 1, sizes that do not fit 64 bits).
uint64_t outlier_bytes(int64_t k, int64_t n_out, int64_t n_in);
/// The largest k whose branch takes at most `bits` per weight of the tensor; 0 when not even one channel does.
/// Errors: invalid_argument (negative or NaN bits; as outlier_bytes).
int64_t outliers_in_budget(double bits, int64_t n_out, int64_t n_in);

/// Sets the channels to zero, so that no scale is spent on them. `index` as worst_channels gives it.
void clear_channels(std::span<const int32_t> index, float* weights, int64_t n_out, int64_t n_in) noexcept;
/// The same for what weighs errors: the branch carries those channels, so they do not matter to the rest.
void clear_importance(std::span<const int32_t> index, std::span<float> importance) noexcept;
/// Rows and columns of a second moment [n_in, n_in], as for inputs that are always zero.
void clear_second_moment(std::span<const int32_t> index, float* second_moment, int64_t n_in) noexcept;

/// The two tensors beside a matrix.
struct OutlierBranch {
  std::vector<int32_t> index;    // [k], ascending
  std::vector<uint16_t> values;  // f16 bits [n_out, k]: weights - rounded, so that rest + branch is the weight
  int64_t k() const noexcept { return static_cast<int64_t>(index.size()); }
};

/// Branch of channels `index`; tensor.weights are those before clear_channels, tensor.rounded those after it.
/// Differences beyond f16 are clamped.
OutlierBranch make_outliers(std::span<const int32_t> index, const RoundedMatrix& tensor);

/// A tensor rounded with its branch.
struct BranchedTensor {
  std::vector<std::byte> rest;  // n_out rows
  OutlierBranch branch;
};

/// Rounds `weights` to bytes of the type asked for. `cleared`: channels that are zero in them and that no error counts
/// of (empty: none yet); `importance` has zeros there.
using RoundMatrixFn = FunctionRef<std::vector<std::byte>(const float* weights, std::span<const float> importance,
                                                         std::span<const int32_t> cleared)>;

/// Weights [n_out, n_in] of a matrix and what weighs the errors of its columns.
struct OutlierInput {
  const float* weights;
  int64_t n_out, n_in;
  TensorType type;
  std::span<const float> importance;  // [n_in] or empty
};

/// The steps at the head of this file for k channels (0: one rounding, an empty branch).
BranchedTensor round_with_outliers(const OutlierInput& input, int64_t k, RoundMatrixFn round);

/// What a file lists for a branch of matrix `name`: index, then values.
std::array<GgufTensorPlan, 2> outlier_tensors(std::string_view name, int64_t k, int64_t n_out);

}  // namespace thimble
