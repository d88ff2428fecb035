// What thimble eval prints.
#pragma once

#include <string>

#include "eval/evaluation.h"

namespace thimble::cli {

/// Tables for people, on standard output.
void print_evaluation(const Evaluation& evaluation);

/// One model: {perplexity, divergence, tasks: [...]}; several: {models: [{name, ...}]}. Without items: those are in
/// results.json.
std::string eval_json(const Evaluation& evaluation);

}  // namespace thimble::cli
