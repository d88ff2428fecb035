// A rounding problem as a strip of rows, and the loss of one in doubles.
#pragma once

#include "quantize/quantize_test_problem.h"
#include "quantize/second_order.h"

namespace thimble {

inline RowStrip strip_of(const Problem& p, TensorType type) {
  return {*find_grid(type), p.weights.data(), p.n_out, p.n_in};
}

inline double exact_loss(const Problem& p, const RowStrip& strip) {
  double sum = 0.0;
  for (int64_t r = 0; r < strip.n_rows; ++r) sum += exact_loss_of_first(p, strip.error.data() + r * p.n_in, p.n_in);
  return sum;
}

}  // namespace thimble
