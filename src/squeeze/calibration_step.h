// What a squeeze calibrates on, and the calibration file in its work folder.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/calibration.h"
#include "squeeze/squeeze.h"
#include "tasks/calibration_samples.h"

namespace thimble {

/// Sources that the options ask for; with none named, the task folder when it has NAME.calib.jsonl. Empty: none.
/// Errors: invalid_argument as parse_sample_source; both a calibration and data for one.
std::vector<SampleSource> calibration_sources(const SqueezeOptions& options);

/// Samples of `sources` for a model, never items of options.tasks. Errors: as make_calibration_samples.
CalibrationSamples squeeze_samples(const SqueezeOptions& options, const GgufFile& model,
                                   const std::vector<SampleSource>& sources, const Task& task);

/// Identity of a calibration run: model, tokens and version.
std::string calibration_run_key(const std::string& model_hash, const CalibrationSamples& samples,
                                const std::string& version);

}  // namespace thimble
