// What tests of folds share: tiny models, folding them in place, calibrations with planted outlier channels.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "calibrate/calibration.h"
#include "model/reference_forward_test.h"
#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"
#include "quantize/fold.h"
#include "quantize/scheme.h"

namespace thimble {

inline ModelConfig one_layer(const char* architecture = "llama") {
  ModelConfig config = tiny_config(architecture);
  config.n_layer = 1;
  return config;
}

inline SyntheticModel make_fold_model(const ModelConfig& config, bool tied) {
  ThreadPool pool(1);
  return make_synthetic_model(config, synthetic_tensors(config, TensorType::f32, tied), {}, pool);
}

/// Multiplies the f32 tensors of an image by the factors of `plan`.
inline void fold_image(SyntheticModel* model, const FoldPlan& plan) {
  check_plan(plan, model->gguf);
  for (const auto& [name, scales] : plan) {
    const GgufTensor& tensor = model->gguf.tensor(name);
    ASSERT_EQ(tensor.view.type, TensorType::f32);
    const auto offset = static_cast<size_t>(tensor.view.data.data() - model->image.data());
    auto* values = reinterpret_cast<float*>(model->image.data() + offset);
    const bool vector = tensor.n_dims == 1;
    apply_fold(scales, values, 0, tensor.view.ne[vector ? 0 : 1], vector ? 1 : tensor.view.ne[0]);
  }
}

using Logits = std::vector<std::vector<double>>;

inline Logits reference_logits(const GgufFile& gguf) {
  return ReferenceForward(gguf).run(std::vector<int32_t>{1, 17, 200, 33, 90, 5, 263});
}

/// Largest difference of logits relative to the largest logit.
inline double change_of_logits(const Logits& before, const GgufFile& after) {
  const Logits logits = reference_logits(after);
  double worst = 0, largest = 0;
  for (size_t t = 0; t < logits.size(); ++t) {
    for (size_t i = 0; i < logits[t].size(); ++i) {
      worst = std::max(worst, std::abs(logits[t][i] - before[t][i]));
      largest = std::max(largest, std::abs(before[t][i]));
    }
  }
  return worst / largest;
}

/// Gaussian-like inputs [n_rows, n]; channels i with i % 23 == `outlier` are 30 times as large.
inline std::vector<float> planted_inputs(int64_t n_rows, int64_t n, int64_t outlier, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<float> x(static_cast<size_t>(n_rows * n));
  for (size_t i = 0; i < x.size(); ++i) {
    float sum = -6.0f;  // of twelve uniform numbers: variance 1, and the same on every standard library
    for (int k = 0; k < 12; ++k) sum += static_cast<float>(generator() >> 8) * 0x1p-24f;
    x[i] = static_cast<int64_t>(i) % n % 23 == outlier ? 30.0f * sum : sum;
  }
  return x;
}

/// Everything a calibration run would know of inputs x [n_rows, n].
inline CalibrationEntry entry_of(const FoldSite& site, const std::vector<float>& x, const std::vector<float>& heldout) {
  const auto n = static_cast<size_t>(site.n);
  const size_t n_rows = x.size() / n;
  CalibrationEntry entry = {site.name(), site.consumers, {}, std::vector<float>(n * n, 0.0f), heldout};
  entry.statistics = {site.n, static_cast<int64_t>(n_rows), std::vector<float>(n, 0.0f), std::vector<float>(n, 0.0f),
                      std::vector<float>(n, 0.0f)};
  for (size_t t = 0; t < n_rows; ++t) {
    for (size_t i = 0; i < n; ++i) {
      const float value = x[t * n + i];
      entry.statistics.mean_abs[i] += std::fabs(value) / static_cast<float>(n_rows);
      entry.statistics.max_abs[i] = std::max(entry.statistics.max_abs[i], std::fabs(value));
      for (size_t j = 0; j < n; ++j) {
        entry.second_moment[i * n + j] += value * x[t * n + j] / static_cast<float>(n_rows);
      }
    }
  }
  for (size_t i = 0; i < n; ++i) entry.statistics.mean_square[i] = entry.second_moment[i * n + i];
  return entry;
}

/// A calibration of all sites of `gguf`; held-out inputs have their outliers in channels `heldout_outlier`.
inline Calibration planted_calibration(const GgufFile& gguf, int64_t heldout_outlier = 5) {
  std::vector<CalibrationEntry> entries;
  uint32_t seed = 1;
  for (const FoldSite& site : fold_sites(read_model_config(gguf), gguf).sites) {
    const std::vector<float> x = planted_inputs(256, site.n, 5, ++seed);
    entries.push_back(entry_of(site, x, planted_inputs(64, site.n, heldout_outlier, seed + 1000)));
  }
  CalibrationInfo info;
  info.model_key = calibration_model_key(gguf);
  return Calibration::from_entries(info, entries);
}

/// The same type for all matrices.
inline std::vector<TypeChoice> all_as(const GgufFile& gguf, TensorType type) {
  std::vector<TypeChoice> choices;
  for (const GgufTensor& tensor : gguf.tensors()) {
    choices.push_back({tensor.n_dims == 1 ? tensor.view.type : type, "test"});
  }
  return choices;
}

}  // namespace thimble
