// SmoothQuant (Xiao et al. 2211.10438): factors that move outliers of activations into weights where a norm can take
// them, for backends that round activations to int8. The exponent is searched per site by the error of the real W8A8
// product on held-out inputs, identity included. Where activations are rounded per 32 or 256 values, as this engine
// and stock llama.cpp do, little is gained; where one scale serves a token (phone NPUs, XNNPACK), much may be.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/progress.h"
#include "calibrate/calibration.h"
#include "quantize/fold_loss.h"

namespace thimble {

/// How activations are rounded: by the kernels of this engine for the weight's type, or with one scale per token
/// (max |x| / 127).
enum class ActivationRounding { engine, per_token };

struct SmoothSettings {
  ActivationRounding activations = ActivationRounding::per_token;
  double alpha_step = 0.05;  // of the exponents 0, step, ... 1
  int64_t rows = 256;        // sampled rows per matrix
  double min_gain = 0.01;    // a fold must lower the deciding error by this share
  std::vector<FoldKind> kinds = {FoldKind::qkv, FoldKind::gate_up};  // fed by norms: folding is free of side effects
};

/// s = max|x|^alpha / max|w|^(1 - alpha), both at least 1e-5, normalized; [n]. Tied for `site` by the largest.
std::vector<float> smooth_factors(const FoldSite& site, double alpha, std::span<const float> x_max,
                                  std::span<const float> w_max);

/// Relative output error of a site's matrices, weights rounded to their types by scale search and activations rounded,
/// as a mean over the matrices: the product X' W'^T of rounded factors against X W^T of floats.
class SmoothLoss {
 public:
  /// x [n_rows, n] inputs. All outlive the object.
  SmoothLoss(const ops::Backend& backend, std::span<const SampledMatrix> matrices, ActivationRounding activations,
             std::span<const float> x);
  /// For factors s [n].
  double of(std::span<const float> s);

 private:
  void multiply(const TensorView& weights, const float* x, float* out);
  void fold_inputs_and_round(std::span<const float> s);

  ops::Backend backend_;
  std::span<const SampledMatrix> matrices_;
  ActivationRounding activations_;
  std::span<const float> x_;
  int64_t n_ = 0, n_tokens_ = 0;
  std::vector<std::vector<float>> exact_;  // [n_tokens, n_rows] for each matrix
  std::vector<float> folded_x_, folded_w_, products_;
  std::vector<std::byte> blocks_;
  ops::ActivationBuffer scratch_;
};

/// Searches the norm-fed sites of a model. Half of the held-out rows chooses the exponent, the other half decides
/// whether it is folded. Sites without held-out rows or maxima are skipped with the reason. Errors: as search_awq.
FoldSearch search_smooth(const GgufFile& gguf, const Calibration& calibration, std::span<const TypeChoice> choices,
                         const SmoothSettings& settings, const ops::Backend& backend, const Task& task = {});

}  // namespace thimble
