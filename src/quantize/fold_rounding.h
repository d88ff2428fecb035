// Lets the rounding that a recipe uses decide about folds, instead of the scale search that candidates are found with.
#pragma once

#include "calibrate/calibration.h"
#include "quantize/fold_loss.h"
#include "quantize/rounding.h"

namespace thimble {

/// Rounds sampled rows by `rounder` with the second moment and held-out rows of their input, folded as they are. For
/// AwqSettings::final_round. Both must outlive the function. A matrix without second moments is rounded by search.
/// Errors of the function: as Rounder::round and Calibration::second_moment.
RoundRowsFn round_by_method(Rounder* rounder, const Calibration& calibration);

}  // namespace thimble
