// The worst answers of every candidate, side by side with the float model's answer and the reference.
#pragma once

#include <string>

#include "squeeze/report.h"

namespace thimble {

/// HTML section; every text escaped and cut to a readable length.
std::string report_examples(const SqueezeResult& result);

}  // namespace thimble
