#include "calibrate/input_moments.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace thimble {

namespace {

// Sums of one channel over a chunk. Eight sums side by side: one alone waits for each addition.
void add_channel(const float* x, int64_t n, double* sum_abs, double* sum_square, float* max_abs) noexcept {
  constexpr int64_t kSums = 8;
  double magnitudes[kSums] = {}, squares[kSums] = {};
  float largest[kSums] = {};
  int64_t i = 0;
  const auto add = [&](int64_t lane, float value) {
    const float magnitude = std::fabs(value);
    magnitudes[lane] += static_cast<double>(magnitude);
    squares[lane] += static_cast<double>(value) * static_cast<double>(value);
    largest[lane] = std::max(largest[lane], magnitude);
  };
  for (; i + kSums <= n; i += kSums) {
    for (int64_t lane = 0; lane < kSums; ++lane) add(lane, x[i + lane]);
  }
  for (; i < n; ++i) add(0, x[i]);
  for (int64_t lane = 0; lane < kSums; ++lane) {
    *sum_abs += magnitudes[lane];
    *sum_square += squares[lane];
    *max_abs = std::max(*max_abs, largest[lane]);
  }
}

}  // namespace

InputMoments::InputMoments(int64_t n_in, bool second_moments)
    : n_in_(n_in),
      sum_abs_(static_cast<size_t>(n_in)),
      sum_square_(static_cast<size_t>(n_in)),
      max_abs_(static_cast<size_t>(n_in)),
      triangle_(second_moments ? static_cast<size_t>(ops::triangle_size(n_in)) : 0) {}

void InputMoments::add(const ops::Backend& backend, const float* x, int64_t n_tokens, MomentScratch& scratch) noexcept {
  float* const x_t = scratch.transposed();
  ops::transpose(backend, x, n_tokens, n_in_, x_t);
  backend.pool->split(n_in_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const auto i = static_cast<size_t>(c);
      add_channel(x_t + c * n_tokens, n_tokens, &sum_abs_[i], &sum_square_[i], &max_abs_[i]);
    }
  });
  if (triangle_.size() > 0) ops::add_gram(backend, x_t, n_in_, n_tokens, triangle_.data(), scratch.gram());
  n_tokens_ += n_tokens;
}

bool InputMoments::finite() const noexcept {
  // Gram products are summed as floats, bounded by the sums of squares: these must be floats too.
  constexpr auto kLimit = static_cast<double>(std::numeric_limits<float>::max());
  return std::all_of(sum_square_.begin(), sum_square_.end(),
                     [&](double sum) { return sum < kLimit; });  // false for NaN
}

namespace {

std::vector<float> means(const std::vector<double>& sums, int64_t n) {
  std::vector<float> out(sums.size());
  for (size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<float>(sums[i] / static_cast<double>(n));
  return out;
}

}  // namespace

std::vector<float> InputMoments::mean_abs() const {
  return means(sum_abs_, n_tokens_);
}

std::vector<float> InputMoments::mean_square() const {
  return means(sum_square_, n_tokens_);
}

void InputMoments::write_triangle(FunctionRef<void(std::span<const float>)> sink) const {
  constexpr size_t kPiece = size_t{1} << 18;  // floats: 1 MiB
  std::vector<float> piece;
  piece.reserve(std::min(kPiece, triangle_.size()));
  const double scale = 1.0 / static_cast<double>(n_tokens_);
  for (size_t i = 0; i < triangle_.size(); ++i) {
    piece.push_back(static_cast<float>(triangle_.data()[i] * scale));
    if (piece.size() < kPiece && i + 1 < triangle_.size()) continue;
    sink(piece);
    piece.clear();
  }
}

}  // namespace thimble
