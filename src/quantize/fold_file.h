// A folded float model as a file of its own: the same function with other weights, for whoever quantizes or checks it
// with other tools.
#pragma once

#include <string>

#include "base/progress.h"
#include "format/gguf.h"
#include "quantize/fold.h"

namespace thimble {

/// Writes the float model `input` with the factors of `plan` multiplied in; metadata and types stay (f16 weights are
/// rounded to f16 again, which is what the fold costs there). Atomic; streams tensor by tensor. Errors: as check_plan;
/// invalid_argument when a tensor with factors is quantized or the output is the input; unsupported when factors take a
/// weight out of the range of its type, naming the tensor; io; resource_exhausted; cancelled.
void write_folded(const GgufFile& input, const FoldPlan& plan, const std::string& output_path, const Task& task = {});

}  // namespace thimble
