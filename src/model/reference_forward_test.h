// Test oracle: the forward pass of llama-like models, written from the papers in the plainest way, in double precision,
// with every key and value recomputed. Weights come through the scalar decoders. Slow; for models of a few layers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "format/gguf.h"
#include "model/model_config.h"

namespace thimble {

class ReferenceForward {
 public:
  explicit ReferenceForward(const GgufFile& gguf) : gguf_(&gguf), config_(read_model_config(gguf)) {}

  /// Logits [tokens.size()][n_vocab] of all positions.
  std::vector<std::vector<double>> run(std::span<const int32_t> tokens) const {
    std::vector<Row> x;
    for (const int32_t id : tokens) x.push_back(row_of("token_embd.weight", id));
    for (int64_t layer = 0; layer < config_.n_layer; ++layer) {
      attend(layer, x);
      for (Row& row : x) feed_forward(layer, row);
    }
    const bool tied = gguf_->find_tensor("output.weight") == nullptr;
    for (Row& row : x) {
      row = multiply(tied ? "token_embd.weight" : "output.weight", norm("output_norm.weight", row));
    }
    return x;
  }

  /// Sees the name of each matrix and the row that it is about to multiply.
  std::function<void(const std::string& matrix, const std::vector<double>& x)> on_multiply;

 private:
  using Row = std::vector<double>;

  Row row_of(const std::string& name, int64_t r) const {
    const TensorView& view = gguf_->tensor(name).view;
    std::vector<float> floats(static_cast<size_t>(view.n_cols()));
    traits(view.type).decode(view.row(r), floats.data(), view.n_cols());
    Row row(floats.begin(), floats.end());
    if (const GgufTensor* index = gguf_->find_tensor(name + ".outlier_index"); index != nullptr) {
      const TensorView& values = gguf_->tensor(name + ".outlier").view;
      const auto* channels = reinterpret_cast<const int32_t*>(index->view.data.data());
      floats.resize(static_cast<size_t>(values.n_cols()));
      traits(values.type).decode(values.row(r), floats.data(), values.n_cols());
      for (size_t j = 0; j < floats.size(); ++j) row[static_cast<size_t>(channels[j])] += floats[j];
    }
    return row;
  }

  Row multiply(const std::string& name, const Row& x) const {
    if (on_multiply) on_multiply(name, x);
    Row out;
    for (int64_t r = 0; r < gguf_->tensor(name).view.n_rows(); ++r) {
      const Row w = row_of(name, r);
      double sum = 0;
      for (size_t i = 0; i < x.size(); ++i) sum += w[i] * x[i];
      out.push_back(sum);
    }
    return out;
  }

  Row norm(const std::string& name, const Row& x) const {
    double squares = 0;
    for (const double v : x) squares += v * v;
    const double scale =
        1.0 / std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(config_.rms_eps));
    Row out = row_of(name, 0);
    for (size_t i = 0; i < x.size(); ++i) out[i] *= x[i] * scale;
    return out;
  }

  // q, k or v of one token, with its bias when the model has one.
  Row project(int64_t layer, const std::string& part, const Row& x) const {
    const std::string name = "blk." + std::to_string(layer) + ".attn_" + part;
    Row out = multiply(name + ".weight", x);
    if (gguf_->find_tensor(name + ".bias") != nullptr) {
      const Row bias = row_of(name + ".bias", 0);
      for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i];
    }
    return out;
  }

  void rotate(Row& x, int64_t position) const {
    const auto n_rot = static_cast<size_t>(config_.n_rot);
    const auto head_dim = static_cast<size_t>(config_.head_dim);
    Row factors(n_rot / 2, 1.0);
    if (gguf_->find_tensor("rope_freqs.weight") != nullptr) factors = row_of("rope_freqs.weight", 0);
    for (size_t head = 0; head < x.size(); head += head_dim) {
      for (size_t i = 0; i < n_rot / 2; ++i) {
        const double frequency = std::pow(static_cast<double>(config_.rope_freq_base),
                                          -2.0 * static_cast<double>(i) / static_cast<double>(n_rot));
        const double angle =
            static_cast<double>(position) * static_cast<double>(config_.rope_freq_scale) * frequency / factors[i];
        const bool neox = config_.rope_style == ops::RopeStyle::neox;
        double& a = x[head + (neox ? i : 2 * i)];
        double& b = x[head + (neox ? i + n_rot / 2 : 2 * i + 1)];
        const double rotated = a * std::cos(angle) - b * std::sin(angle);
        b = a * std::sin(angle) + b * std::cos(angle);
        a = rotated;
      }
    }
  }

  void attend(int64_t layer, std::vector<Row>& x) const {
    std::vector<Row> q, k, v;
    for (size_t t = 0; t < x.size(); ++t) {
      const Row h = norm("blk." + std::to_string(layer) + ".attn_norm.weight", x[t]);
      q.push_back(project(layer, "q", h));
      k.push_back(project(layer, "k", h));
      v.push_back(project(layer, "v", h));
      rotate(q.back(), static_cast<int64_t>(t));
      rotate(k.back(), static_cast<int64_t>(t));
    }
    for (size_t t = 0; t < x.size(); ++t) {
      Row heads;
      for (int64_t head = 0; head < config_.n_head; ++head) attend_head(t, head, q, k, v, heads);
      const Row out = multiply("blk." + std::to_string(layer) + ".attn_output.weight", heads);
      for (size_t i = 0; i < out.size(); ++i) x[t][i] += out[i];
    }
  }

  void attend_head(size_t t, int64_t head, const std::vector<Row>& q, const std::vector<Row>& k,
                   const std::vector<Row>& v, Row& heads) const {
    const auto dim = static_cast<size_t>(config_.head_dim);
    const size_t q0 = static_cast<size_t>(head) * dim;
    const size_t kv0 = static_cast<size_t>(head / (config_.n_head / config_.n_head_kv)) * dim;
    const auto window = static_cast<size_t>(config_.sliding_window);
    const size_t first = window > 0 && t + 1 > window ? t + 1 - window : 0;
    Row weights;
    double sum = 0;
    for (size_t s = first; s <= t; ++s) {
      double score = 0;
      for (size_t i = 0; i < dim; ++i) score += q[t][q0 + i] * k[s][kv0 + i];
      weights.push_back(std::exp(score / std::sqrt(static_cast<double>(dim))));
      sum += weights.back();
    }
    for (size_t i = 0; i < dim; ++i) {
      double value = 0;
      for (size_t s = first; s <= t; ++s) value += weights[s - first] / sum * v[s][kv0 + i];
      heads.push_back(value);
    }
  }

  void feed_forward(int64_t layer, Row& x) const {
    const std::string name = "blk." + std::to_string(layer) + ".ffn_";
    const Row h = norm(name + "norm.weight", x);
    Row gate = multiply(name + "gate.weight", h);
    const Row up = multiply(name + "up.weight", h);
    for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
    const Row out = multiply(name + "down.weight", gate);
    for (size_t i = 0; i < x.size(); ++i) x[i] += out[i];
  }

  const GgufFile* gguf_;  // not owned
  ModelConfig config_;
};

/// Of logits and their reference.
inline double largest_difference(const std::vector<float>& got, const std::vector<std::vector<double>>& want) {
  double worst = 0;
  size_t i = 0;
  for (const auto& row : want) {
    for (const double value : row) worst = std::max(worst, std::abs(static_cast<double>(got.at(i++)) - value));
  }
  EXPECT_EQ(i, got.size());
  return worst;
}

/// Of logits of two forward passes.
inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(static_cast<double>(a[i] - b[i])));
  return worst;
}

}  // namespace thimble
