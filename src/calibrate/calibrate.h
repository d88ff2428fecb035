// The calibration run: a model over token sequences, layer by layer, so that memory holds the second moments of one
// layer. The residual stream of all sequences lies in work files beside the output.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "calibrate/calibration.h"
#include "kernels/isa.h"

namespace thimble {

struct CalibrationSettings {
  bool second_moments = true;       // H of every input; without: channel statistics only
  int64_t n_heldout_rows = 512;     // rows kept of each input from held-out sequences; 0: nothing is held out
  int64_t heldout_every = 8;        // every 8th sequence is held out
  std::string data;                 // where the sequences came from, in words, for the file
  int64_t n_context = 0;            // longest sequence allowed, for the file; 0: that of the sequences
  std::optional<kernels::Isa> isa;  // forced instruction set; default: the best of this machine
};

struct CalibrationResult {
  CalibrationInfo info;
  int64_t n_inputs = 0;
  int64_t resumed_layers = 0;         // layers an earlier, interrupted run had finished
  int64_t untouched_rows = 0;         // rows of the embedding that no token looked up
  std::vector<std::string> singular;  // inputs with fewer tokens than columns: their H has no inverse
  uint64_t file_bytes = 0;
};

/// Runs `model` over `sequences` (token ids, each from position 0) and writes `output_path`. Deterministic: threads
/// and interruptions do not change a byte. A run that was killed goes on from the last finished layer when it is
/// called again with the same arguments. Errors: invalid_argument (no sequence, an id out of range, the output is the
/// model); corrupt for activations that are not finite, naming layer and input; io; resource_exhausted; cancelled;
/// those of Model.
CalibrationResult calibrate(const GgufFile& model, std::span<const std::vector<int32_t>> sequences,
                            const CalibrationSettings& settings, const std::string& output_path, ThreadPool& pool,
                            const Task& task = {});

}  // namespace thimble
