// A rounding problem small enough for exact references: weights with a few large ones, correlated inputs with loud
// channels, the second moment of just these inputs. And the linear algebra that references need, written plainly.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace thimble {

struct Problem {
  int64_t n_out, n_in, n_inputs;
  std::vector<float> weights;   // [n_out, n_in]
  std::vector<float> inputs;    // [n_inputs, n_in]
  std::vector<float> h;         // [n_in, n_in]
  std::vector<float> diagonal;  // [n_in]
  std::span<const float> importance() const { return diagonal; }
};

inline Problem random_problem(int64_t n_out, int64_t n_in, uint32_t seed) {
  std::mt19937 generator(seed);
  // Sums of uniforms: the same on every standard library, unlike std::normal_distribution.
  const auto draw = [&] {
    double sum = -2.0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(generator()) / 4294967296.0;
    return static_cast<float>(sum);
  };
  Problem p{n_out, n_in, 2 * n_in + 16, {}, {}, {}, {}};
  for (int64_t i = 0; i < n_out * n_in; ++i) {
    const float w = draw();
    p.weights.push_back(0.05f * w * (generator() % 32 == 0 ? 4.0f : 1.0f));
  }
  std::vector<float> loudness(static_cast<size_t>(n_in));
  for (float& value : loudness) value = generator() % 16 == 0 ? 6.0f : 1.0f;
  for (int64_t t = 0; t < p.n_inputs; ++t) {
    float shared = 0.0f;
    const float common = draw();
    for (int64_t i = 0; i < n_in; ++i) {
      shared = 0.7f * shared + draw();
      p.inputs.push_back(loudness[static_cast<size_t>(i)] * (shared + 0.5f * common));
    }
  }
  const auto n = static_cast<size_t>(n_in);
  std::vector<double> h(n * n);
  for (int64_t t = 0; t < p.n_inputs; ++t) {
    const float* const x = p.inputs.data() + t * n_in;
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) h[i * n + j] += static_cast<double>(x[i]) * static_cast<double>(x[j]);
    }
  }
  for (const double value : h) p.h.push_back(static_cast<float>(value / static_cast<double>(p.n_inputs)));
  for (size_t i = 0; i < n; ++i) p.diagonal.push_back(p.h[i * n + i]);
  return p;
}

/// e^T H e over the first n columns.
inline double exact_loss_of_first(const Problem& p, const float* e, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      sum += static_cast<double>(e[i]) * static_cast<double>(p.h[static_cast<size_t>(i * p.n_in + j)]) *
             static_cast<double>(e[j]);
    }
  }
  return sum;
}

/// Gauss-Jordan without pivoting: for positive definite matrices.
inline std::vector<double> inverse(std::vector<double> a, size_t n) {
  std::vector<double> out(n * n, 0.0);
  for (size_t i = 0; i < n; ++i) out[i * n + i] = 1.0;
  for (size_t k = 0; k < n; ++k) {
    const double pivot = 1.0 / a[k * n + k];
    for (size_t j = 0; j < n; ++j) {
      a[k * n + j] *= pivot;
      out[k * n + j] *= pivot;
    }
    for (size_t i = 0; i < n; ++i) {
      const double share = a[i * n + k];
      if (i == k || share == 0.0) continue;
      for (size_t j = 0; j < n; ++j) {
        a[i * n + j] -= share * a[k * n + j];
        out[i * n + j] -= share * out[k * n + j];
      }
    }
  }
  return out;
}

/// T upper triangular with T^T T = a.
inline std::vector<double> upper_factor(const std::vector<double>& a, size_t n) {
  std::vector<double> t(n * n, 0.0);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i; j < n; ++j) {
      double sum = a[i * n + j];
      for (size_t k = 0; k < i; ++k) sum -= t[k * n + i] * t[k * n + j];
      t[i * n + j] = i == j ? std::sqrt(sum) : sum / t[i * n + i];
    }
  }
  return t;
}

}  // namespace thimble
