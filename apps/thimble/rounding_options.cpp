// Flags, statistics, and the recipe they amount to.
#include "rounding_options.h"

#include "base/error.h"
#include "calibrate/imatrix.h"
#include "number_range.h"

namespace thimble::cli {

void add_rounding_flags(CLI::App& verb, RoundingOptions& options) {
  auto* const calibration = verb.add_option("--calibration", options.calibration,
                                            "statistics of this model's inputs, from thimble calibrate");
  verb.add_option("--imatrix", options.imatrix, "importance matrix of llama.cpp (GGUF): importance only")
      ->excludes(calibration);
  verb.add_option("--method", options.method,
                  "search, gptq, gptq_cd or best (of these, by held-out inputs); default: best with second moments, "
                  "search without");
  verb.add_option("--damp", options.damp, "damping of gptq, share of the mean diagonal; default: the best of several");
  verb.add_option("--sweeps", options.sweeps, "sweeps of coordinate descent at most");
  auto* const outliers = verb.add_option("--outliers", options.outliers,
                                         "input channels of every matrix of the layers kept in f16 beside the rest "
                                         "(not for stock llama.cpp)");
  outliers->check(CLI::Range(int64_t{1}, kMaxOutliers));
  verb.add_option("--outlier-bits", options.outlier_bits,
                  "the same, as many channels as this many bits per weight pay for")
      ->check(number_range(0.0, kMaxOutlierBits))
      ->excludes(outliers);
  verb.add_option("--fold", options.fold, "none, awq or smooth: move factors between matrices before rounding");
}

std::optional<Calibration> open_statistics(const RoundingOptions& options) {
  if (!options.calibration.empty()) return Calibration::open(options.calibration);
  if (!options.imatrix.empty()) return read_imatrix(options.imatrix);
  return std::nullopt;
}

Recipe with_rounding(Recipe recipe, const RoundingOptions& options, const Calibration* calibration) {
  if (options.method.empty()) {
    recipe = with_default_rounding(std::move(recipe), calibration != nullptr && calibration->has_second_moments());
  } else {
    recipe.rounding.method = rounding_method_from_name(options.method);
  }
  if (options.damp != 0) recipe.rounding.damps = {options.damp};
  if (options.sweeps != 0) recipe.rounding.sweeps = options.sweeps;
  check_rounding_settings(recipe.rounding);
  if (!options.fold.empty()) recipe.fold = fold_method_from_name(options.fold);
  if (options.outliers != 0 || options.outlier_bits != 0) recipe.outliers = {options.outliers, options.outlier_bits};
  return recipe;
}

}  // namespace thimble::cli
