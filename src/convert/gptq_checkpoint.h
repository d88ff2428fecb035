// Modules of AutoGPTQ and GPTQModel: NAME.qweight, NAME.qzeros, NAME.scales and NAME.g_idx.
#pragma once

#include "convert/packed_matrix.h"

namespace thimble {

/// The packed matrix [n_out, n_in] of `module`. Errors: corrupt (a missing tensor, a wrong shape, g_idx that names no
/// group), unsupported (element types, dimensions that do not fill words and blocks of 32, groups of columns that are
/// not neighbours: act-order without static groups); each names file, tensor, found and expected.
PackedMatrix open_gptq(const SafetensorsFile& weights, const HfQuantization& quantization, const std::string& module,
                       int64_t n_out, int64_t n_in);

}  // namespace thimble
