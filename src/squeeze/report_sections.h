// Sections of report.html, each from its heading to its last element; "" where there is nothing to say. Every text from
// outside passes html_escape().
#pragma once

#include <string>

#include "squeeze/squeeze.h"

namespace thimble {

/// Score against size, KL against size, and folded away speed and memory. (report_plots.cpp)
std::string plots_section(const SqueezeResult& result);
/// How well perplexity and KL predict the order by score: sentences, pictures, a table. (report_plots.cpp)
std::string agreement_section(const SqueezeResult& result);
/// All candidates with sizes, speed, memory, scores and intervals. (report_tables.cpp)
std::string candidates_section(const SqueezeResult& result);
/// One table per task: metrics, difference, tests, what the items can show. (report_tables.cpp)
std::string tasks_section(const SqueezeResult& result);
/// What each candidate is made of. (report_tables.cpp)
std::string recipes_section(const SqueezeResult& result);
/// Candidates that were not scored, with reasons. (report_tables.cpp)
std::string excluded_section(const SqueezeResult& result);
/// The worst answers of every candidate beside the float model's and the reference. (report_examples.cpp)
std::string examples_section(const SqueezeResult& result);

}  // namespace thimble
