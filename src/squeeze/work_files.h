// Files of a squeeze: hashes of finished work, publishing the picked model, the planned footprint of a candidate.
#pragma once

#include <string>

#include "device/plan.h"
#include "quantize/quantize.h"

namespace thimble {

/// content_hash of a whole file. Errors: as MappedFile.
std::string file_hash(const std::string& path);

/// content_hash over names, sizes and times of the files of a folder: whether a conversion of it can be kept without
/// reading gigabytes. Errors: io.
std::string folder_fingerprint(const std::string& folder);

/// Makes `to` the same file as `from`, atomically: a hard link, or a copy where links are not possible.
/// Errors: io, resource_exhausted.
void publish_file(const std::string& from, const std::string& to);

/// Type that keeps the weights of a Hugging Face folder as they are: bf16, f32 or f16 by config.json's torch_dtype.
TensorType float_type_of(const std::string& hf_folder);

/// Footprint of a quantization that has not been written yet.
ModelFootprint planned_footprint(const QuantizeResult& planned, const ModelConfig& config);

}  // namespace thimble
