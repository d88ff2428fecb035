// What a fold does to the rounding of the matrices at a site: their rows, rounded to the true target types under given
// factors, and the error of their outputs over what calibration knows of the inputs. Deterministic whatever the
// threads.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "format/gguf.h"
#include "ops/ops.h"
#include "quantize/fold.h"
#include "quantize/scheme.h"

namespace thimble {

/// Evenly spaced rows of a matrix that will be quantized.
struct SampledMatrix {
  std::string name;
  TensorType type = TensorType::f32;  // that it will have
  int64_t n_rows = 0;
  std::vector<float> rows;  // [n_rows, n]
};

/// At most `max_rows` rows of each consumer of `site` whose type in `choices` (in the order of gguf.tensors()) is a
/// quantized one; empty when all stay floats. Errors: corrupt for NaN or infinite weights, naming tensor and row;
/// invalid_argument when there is not one choice for every tensor.
std::vector<SampledMatrix> sample_site(const GgufFile& gguf, const FoldSite& site, std::span<const TypeChoice> choices,
                                       int64_t max_rows);

/// Rows to be rounded, in the coordinates of a fold.
struct RowsToRound {
  std::string_view tensor;
  TensorType type;
  const float* weights;  // [n_rows, n], columns multiplied by `factors`
  int64_t n_rows, n;
  std::span<const float> importance;  // [n] mean squares of the folded inputs, or empty
  std::span<const float> factors;     // [n]: second moments of the folded inputs are H / (s s^T)
};

/// Rounds and writes the values of what would be stored to out [n_rows, n]. Called from one thread.
using RoundRowsFn = std::function<void(const RowsToRound& rows, float* out)>;

/// Scale search of each type (its encode), rows dealt to threads.
RoundRowsFn round_by_search(const ops::Backend& backend);

/// How much an error row e [n] of a matrix shows in its outputs, as mean over inputs of (e . x)^2.
struct InputMeasure {
  enum class Kind { second_moment, rows, diagonal };
  Kind kind = Kind::diagonal;
  const float* values = nullptr;  // H [n, n]; X [n_rows, n]; mean squares [n]. Not owned.
  int64_t n_rows = 0;             // of X
};

/// The relative output error of a site's matrices as a function of the factors.
class SiteLoss {
 public:
  /// `importance` [n] mean squares of the inputs, or empty. All outlive the object. Errors: resource_exhausted.
  SiteLoss(const ops::Backend& backend, std::span<const SampledMatrix> matrices, std::span<const float> importance,
           const InputMeasure& measure);

  /// Mean over the matrices of |(Q(W S) S^-1 - W) X|^2 / |W X|^2 for factors s [n]. Not finite when the factors take
  /// weights out of the range of a type.
  double of(std::span<const float> s, const RoundRowsFn& round);

 private:
  double energy(const float* rows, int64_t n_rows);
  double diagonal_energy(const float* rows, int64_t n_rows) const noexcept;

  ops::Backend backend_;
  std::span<const SampledMatrix> matrices_;
  std::span<const float> importance_;
  InputMeasure measure_;
  size_t n_ = 0;
  ops::Weight inputs_;  // H or X as the weight of a product
  std::vector<double> energies_;
  std::vector<float> folded_, rounded_, products_, folded_importance_;
  ops::ActivationBuffer scratch_;
};

/// Fewer held-out rows than this decide nothing: the noise of the comparison exceeds the gains looked for. smooth.h
/// takes half of them to choose, half to decide.
inline constexpr int64_t kMinHeldOutRows = 32;

/// What was found at one site.
struct FoldChoice {
  std::string site;            // "blk.3.qkv"
  std::string form;            // "plain", "duo", "duo, largest of heads", "smooth", ...; of the best candidate
  double ratio = 0.0;          // exponent of the activations
  double loss_identity = 0.0;  // relative output errors that the search compared
  double loss = 0.0;
  double final_identity = 0.0;  // those that decided: on held-out rows where there are any
  double final_loss = 0.0;
  bool heldout = false;  // whether the decision was taken on held-out rows
  bool folded = false;
};

struct FoldSearch {
  FoldPlan plan;
  std::vector<FoldChoice> choices;
  std::vector<SkippedFold> skipped;
};

/// One debug line per site, one info line in all ("awq: 23 of 24 sites folded, ..."), one warning for what was skipped.
void say_fold_search(const FoldSearch& search, std::string_view method, const Task& task);

/// Factors further from 1 than this are cut off. Rows of producers are divided by them, and half precision block scales
/// of small rows lose bits below 2^-14; a channel that calibration hardly saw must not be rounded away either.
inline constexpr float kLargestFactor = 64.0f;

/// s /= sqrt(max(s) min(s)), so that factors stay around 1, within [1 / kLargestFactor, kLargestFactor]; what is not
/// finite or not positive becomes 1.
void normalize_factors(std::span<float> s) noexcept;

}  // namespace thimble
