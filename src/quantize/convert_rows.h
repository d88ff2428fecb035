// Converts the rows of one tensor to another element type on all threads, in pieces of a few megabytes, so that peak
// memory is a piece and not a tensor. Finds NaN, infinities and values the target type cannot hold.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/function_ref.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "ops/ops.h"
#include "tensor/tensor_view.h"

namespace thimble {

/// One tensor to be converted. Every span outlives the call.
struct RowConversion {
  std::string_view source;  // file, for errors
  std::string_view name;    // tensor, for errors
  TensorView view;
  TensorType to = TensorType::f32;
  std::span<const float> importance = {};  // [ne[0]] or [ne[2] * ne[0]], or empty
  std::optional<TensorType> range = {};    // type whose range values must fit, when it is not `to`
};

class RowConverter {
 public:
  RowConverter(ThreadPool& pool, const Task& task);

  /// Calls `sink` with successive pieces of the converted tensor and `progress` with the elements done of it.
  /// Errors: corrupt for NaN or infinite weights (file, tensor and row named); unsupported for a value outside the
  /// range of the target; cancelled; what `sink` throws.
  void convert(const RowConversion& job, FunctionRef<void(std::span<const std::byte>)> sink,
               FunctionRef<void(int64_t elements)> progress);

 private:
  void convert_piece(const RowConversion& job, int64_t begin, int64_t end);
  // Converts rows [first, last) and returns last, or the first row that is out of range.
  int64_t convert_rows(const RowConversion& job, int64_t first, int64_t last, std::byte* out,
                       float* floats) const noexcept;

  ThreadPool* pool_;  // not owned
  const Task* task_;  // not owned
  ops::Backend backend_;
  AlignedBuffer<std::byte> piece_;
  AlignedBuffer<float> floats_;  // [n_threads][rows of a grain][columns]
};

}  // namespace thimble
