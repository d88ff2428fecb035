// Rounds one matrix to a block-quantized type by the method asked for, or by the best of several as held-out inputs see
// it. Owns the choice (method, damping) and its report; the arithmetic is second_order.h's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "calibrate/calibration.h"
#include "ops/ops.h"
#include "quantize/linear_algebra.h"
#include "tensor/tensor_type.h"

namespace thimble {

/// search: each block by itself. gptq: errors passed on to later columns. gptq_cd: coordinate descent after it. best:
/// the one of these three with the least held-out loss.
enum class RoundingMethod { search, gptq, gptq_cd, best };

/// "search", "gptq", "gptq_cd", "best".
std::string_view rounding_method_name(RoundingMethod method) noexcept;
/// Errors: invalid_argument, listing the names.
RoundingMethod rounding_method_from_name(std::string_view name);

struct RoundingSettings {
  RoundingMethod method = RoundingMethod::best;
  std::vector<double> damps = {0.01, 0.03, 0.1};  // shares of the mean diagonal; several: chosen by held-out loss
  int sweeps = 6;                                 // of coordinate descent at most
};

/// Errors: invalid_argument (no damping, one outside (0, 1], sweeps outside 1..100).
void check_rounding_settings(const RoundingSettings& settings);

/// What is known of a matrix and its inputs, all in the same coordinates (folded or not). Spans outlive the call.
struct RoundingInput {
  std::string_view name;           // of the tensor, for messages
  const float* weights = nullptr;  // [n_out, n_in]
  int64_t n_out = 0;
  int64_t n_in = 0;
  TensorType type = TensorType::f32;
  std::span<const float> importance;            // [n_in] mean squares of the inputs, or empty
  const SecondMoment* second_moment = nullptr;  // null: only search is possible
  std::string_view input_name;                  // matrices of one input share its factorizations; empty: none shared
  HeldOut heldout;                              // inputs that second_moment has not seen; may be empty
};

/// Relative output errors, |X (Q - W)^T|^2 / |X W^T|^2; -1 where there is nothing to measure on.
struct RoundingLoss {
  double calibration = -1.0;  // over the second moment
  double heldout = -1.0;      // over held-out rows
};

struct Rounded {
  std::vector<std::byte> bytes;                    // n_out rows
  RoundingMethod method = RoundingMethod::search;  // what was kept
  double damp = 0.0;                               // of the kept method
  RoundingLoss loss;                               // of what was kept
  RoundingLoss search_loss;                        // of plain search, for comparison
  std::string
      fallback;  // why a second-order method that was asked for was not used; empty: it was, or was not asked for
};

/// Rounds matrices one after the other. Keeps the factorizations of one input, about (1 + dampings) n_in^2 floats.
class Rounder {
 public:
  /// Errors: as check_rounding_settings.
  Rounder(const ops::Backend& backend, const RoundingSettings& settings);

  /// Types without a grid (f16, bf16, f32) are encoded as they are. Errors: invalid_argument for shapes that do not fit
  /// each other, corrupt for a second moment that is not finite; resource_exhausted; cancelled. Weights must be finite.
  Rounded round(const RoundingInput& input, const Task& task = {});
  /// The same by another method than the settings'.
  Rounded round(const RoundingInput& input, const RoundingSettings& settings, const Task& task = {});

 private:
  struct Candidate;
  const FeedbackFactor* factor(const RoundingInput& input, double damp);
  double choose_damp(const RoundingInput& input, const RoundingSettings& settings, const Task& task);
  Rounded round_second_order(const RoundingInput& input, const RoundingSettings& settings, const Task& task);

  ops::Backend backend_;
  RoundingSettings settings_;
  struct Cached {
    double asked;  // damping asked for
    std::optional<FeedbackFactor> factor;
  };
  std::string cached_input_;
  const SecondMoment* cached_moment_ = nullptr;
  std::vector<Cached> factors_;      // of the cached input
  std::vector<Cached> own_factors_;  // of an input without a name, while its matrix is rounded
};

}  // namespace thimble
