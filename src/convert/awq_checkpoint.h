// Modules of AutoAWQ: NAME.qweight, NAME.qzeros and NAME.scales, in the layouts of its versions gemm and gemv.
#pragma once

#include "convert/packed_matrix.h"

namespace thimble {

/// The packed matrix [n_out, n_in] of `module`. Errors: corrupt (a missing tensor, a wrong shape), unsupported (element
/// types, dimensions that do not fill words, blocks of 32 and groups); each names file, tensor, found and expected.
PackedMatrix open_awq(const SafetensorsFile& weights, const HfQuantization& quantization, const std::string& module,
                      int64_t n_out, int64_t n_in);

}  // namespace thimble
