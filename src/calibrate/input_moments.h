// Moments of one matmul input, gathered chunk by chunk: sums as doubles, so that a million rows lose nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/function_ref.h"
#include "ops/ops.h"

namespace thimble {

/// Memory that the moments of all inputs of a layer share.
class MomentScratch {
 public:
  MomentScratch(const ops::Backend& backend, int64_t max_tokens, int64_t max_n_in)
      : transposed_(static_cast<size_t>(max_tokens) * static_cast<size_t>(max_n_in)),
        gram_(ops::gram_scratch_floats(backend)) {}
  float* transposed() noexcept { return transposed_.data(); }
  float* gram() noexcept { return gram_.data(); }

 private:
  AlignedBuffer<float> transposed_;
  AlignedBuffer<float> gram_;
};

class InputMoments {
 public:
  /// Errors: std::bad_alloc.
  InputMoments(int64_t n_in, bool second_moments);

  int64_t n_in() const noexcept { return n_in_; }
  int64_t n_tokens() const noexcept { return n_tokens_; }

  /// Adds x [n_tokens, n_in]. The result depends on how rows are dealt to calls, and on nothing else.
  void add(const ops::Backend& backend, const float* x, int64_t n_tokens, MomentScratch& scratch) noexcept;

  /// False as soon as a NaN or an infinity came by, or a square was one.
  bool finite() const noexcept;

  /// E|x|, E[x^2], max|x|: [n_in].
  std::vector<float> mean_abs() const;
  std::vector<float> mean_square() const;
  const std::vector<float>& max_abs() const noexcept { return max_abs_; }

  /// Hands the upper triangle of E[x x^T] to `sink`, row after row, in pieces.
  void write_triangle(FunctionRef<void(std::span<const float>)> sink) const;

 private:
  int64_t n_in_;
  int64_t n_tokens_ = 0;
  std::vector<double> sum_abs_, sum_square_;  // [n_in]
  std::vector<float> max_abs_;                // [n_in]
  AlignedBuffer<double> triangle_;            // upper, or empty
};

}  // namespace thimble
