// What a calibration run will do, decided before any arithmetic: the order of sequences, which are held out, batches,
// inputs, and the layout of the file. Everything that its bytes depend on is in run_key.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calibrate/calibrate.h"
#include "calibrate/calibration_format.h"
#include "model/model.h"

namespace thimble {

/// Whole sequences that are run together.
struct CalibrationBatch {
  std::vector<int64_t> lengths;  // of each sequence
  int64_t first_token = 0;       // in CalibrationPlan::tokens
  int64_t n_tokens = 0;
  bool heldout = false;
};

struct CalibrationPlan {
  CalibrationInfo info;
  std::string run_key;
  std::vector<int32_t> tokens;  // all sequences, the held-out ones last
  int64_t n_heldout_tokens = 0;
  int64_t n_heldout_rows = 0;  // of each input, spread evenly over the held-out tokens
  int64_t longest = 0;         // sequence
  int64_t max_batch = 0;       // tokens
  std::vector<CalibrationBatch> batches;
  std::vector<float> token_counts;                        // [n_vocab]
  std::vector<std::vector<CalibrationInputPlan>> stages;  // inputs of each layer, and of the head
  CalibrationLayout layout;

  /// Token that held-out row `row` is taken from: an index into `tokens`.
  int64_t heldout_token(int64_t row) const noexcept;
};

/// Errors: as calibrate().
CalibrationPlan plan_calibration_run(const GgufFile& gguf, const ModelConfig& config,
                                     std::span<const std::vector<int32_t>> sequences,
                                     const CalibrationSettings& settings);

}  // namespace thimble
