// llama.cpp's importance matrix as GGUF (general.type = "imatrix"; tools/imatrix/imatrix.cpp of llama.cpp v0.5.0):
// sums of squared activations and counts by tensor name.
#pragma once

#include <cstdint>
#include <string>

#include "calibrate/calibration.h"

namespace thimble {

/// Reads an imatrix: statistics have mean_square only, and nothing says which model it was made from. Errors: as
/// GgufFile::open; invalid_argument (no imatrix; the old .dat format is named as such), corrupt.
Calibration read_imatrix(const std::string& path);
/// The same from a parsed file.
Calibration read_imatrix(const GgufFile& gguf);

/// Writes what llama-quantize --imatrix reads, one entry for each matrix, atomically. Errors: io, resource_exhausted.
void write_imatrix(const Calibration& calibration, const std::string& path);

}  // namespace thimble
