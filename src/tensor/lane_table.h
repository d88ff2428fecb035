// The table of one instruction set: lane_rows.h for every row of kFitSpecs.
#pragma once

#include <utility>

#include "tensor/grid_fit.h"
#include "tensor/lane_rows.h"

namespace thimble {
namespace {

template <size_t... kIndex>
constexpr GridKernels lane_table(std::index_sequence<kIndex...> /*types*/) noexcept {
  return {{fit_blocks<kFitSpecs[kIndex]>...}, {encode_rows<kFitSpecs[kIndex]>...}};
}

constexpr GridKernels lane_table() noexcept {
  return lane_table(std::make_index_sequence<kFitTypes>{});
}

}  // namespace
}  // namespace thimble
