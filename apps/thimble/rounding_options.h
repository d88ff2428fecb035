// Flags of thimble quantize that say how weights are rounded and with what knowledge of their inputs.
#pragma once

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

#include "calibrate/calibration.h"
#include "quantize/quantize.h"

namespace thimble::cli {

struct RoundingOptions {
  std::string calibration;  // calib.thimble
  std::string imatrix;      // of llama.cpp
  std::string method, fold;
  double damp = 0;  // 0: the best of several
  int sweeps = 0;   // 0: the default
  int64_t outliers = 0;
  double outlier_bits = 0;
};

void add_rounding_flags(CLI::App& verb, RoundingOptions& options);

/// The statistics asked for, or nothing. Errors: those of reading them; invalid_argument for both flags at once.
std::optional<Calibration> open_statistics(const RoundingOptions& options);

/// Flags over the recipe's own wishes. With second moments at hand and no other wish, tensors are rounded by `best`.
Recipe with_rounding(Recipe recipe, const RoundingOptions& options, const Calibration* calibration);

}  // namespace thimble::cli
