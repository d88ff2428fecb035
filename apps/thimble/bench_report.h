// What `thimble bench` found, as JSON and as text.
#pragma once

#include <cstdint>
#include <vector>

#include "base/json.h"

namespace thimble::cli {

/// One repetition: prompt and generation, with the read bandwidth measured before, between and after.
struct BenchRepetition {
  double prefill = 0.0;  // tokens per second; 0 when not measured
  double decode = 0.0;
  double bandwidth = 0.0;       // bytes per second: mean of the measurements before and after decoding
  double region_seconds = 0.0;  // of an empty parallel region
};

/// Adds the speeds of `repetitions` to `report`, which holds threads, weight_bytes_per_token, n_prompt and n_generate.
void add_speeds(Json& report, const std::vector<BenchRepetition>& repetitions);

void print_bench(const Json& report);

}  // namespace thimble::cli
