// The layout of a calib.thimble: a GGUF whose metadata list the inputs and whose tensors hold their statistics, in the
// order in which a run produces them (docs/FORMAT.md, "Calibration").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/calibration.h"
#include "format/gguf_writer.h"

namespace thimble {

constexpr uint32_t kCalibrationVersion = 1;
constexpr int64_t kMaxCalibrationColumns = int64_t{1} << 20;          // its triangle has 2 TB: beyond every model
constexpr std::string_view kCalibrationKind = "thimble.calibration";  // general.type
constexpr std::string_view kTokenCountsName = "token_embd.counts";

// Keys, all below "thimble.calibration.".
constexpr std::string_view kKeyVersion = "thimble.calibration.version";
constexpr std::string_view kKeyModelKey = "thimble.calibration.model_key";
constexpr std::string_view kKeyModelName = "thimble.calibration.model_name";
constexpr std::string_view kKeyRunKey = "thimble.calibration.run_key";
constexpr std::string_view kKeyData = "thimble.calibration.data";
constexpr std::string_view kKeySequences = "thimble.calibration.n_sequences";
constexpr std::string_view kKeyHeldout = "thimble.calibration.n_heldout_sequences";
constexpr std::string_view kKeyTokens = "thimble.calibration.n_tokens";
constexpr std::string_view kKeyContext = "thimble.calibration.n_context";
constexpr std::string_view kKeyInputs = "thimble.calibration.inputs";             // [n_inputs] names
constexpr std::string_view kKeyInputTokens = "thimble.calibration.input_tokens";  // [n_inputs] i32
constexpr std::string_view kKeyWeights = "thimble.calibration.weights";           // names of matrices
constexpr std::string_view kKeyWeightInputs =
    "thimble.calibration.weight_inputs";  // i32, of each the index of its input

// Tensors of an input, NAME + suffix, in file order.
constexpr std::string_view kMeanAbs = ".mean_abs";            // f32 [n_in]
constexpr std::string_view kMeanSquare = ".mean_square";      // f32 [n_in] or, from experts, [n_experts, n_in]
constexpr std::string_view kMaxAbs = ".max_abs";              // f32 [n_in]
constexpr std::string_view kSecondMoment = ".second_moment";  // f32 [n_in * (n_in + 1) / 2], the upper triangle
constexpr std::string_view kHeldoutRows = ".heldout";         // f32 [n_rows, n_in]

/// What a file will hold of one input.
struct CalibrationInputPlan {
  std::string name;
  std::vector<std::string> weights;
  int64_t n_in = 0;
  int64_t n_experts = 1;
  int64_t n_tokens = 0;
  bool has_abs = true;  // mean_abs and max_abs
  bool has_second_moment = false;
  int64_t n_heldout_rows = 0;
};

struct CalibrationLayout {
  GgufMetadata metadata;
  std::vector<GgufTensorPlan> tensors;
};

/// `n_vocab` 0: no token counts. `run_key` may be empty. Errors: invalid_argument for sizes that no file can hold.
CalibrationLayout plan_calibration(const CalibrationInfo& info, const std::string& run_key, int64_t n_vocab,
                                   const std::vector<CalibrationInputPlan>& inputs);

/// run_key of a finished calibration at `path`, or "" when there is none or it cannot be read.
std::string calibration_run_key(const std::string& path);

}  // namespace thimble
