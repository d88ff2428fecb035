// How a sidecar knows its model again: cheaply at every start, thoroughly when there is doubt.
#pragma once

#include <string>
#include <vector>

#include "base/file.h"
#include "base/progress.h"
#include "format/gguf.h"

namespace thimble {

/// Files of gigabytes are read in pieces of this, between which a task may report or end.
constexpr size_t kReadBytes = size_t{4} << 20;

/// What a start looks at: no more than 64 pages of the tensor data are read.
struct ModelIdentity {
  std::vector<FileStamp> parts;  // of each file of a split set, in order
  std::string fingerprint;       // content_hash of metadata, tensor table, sizes and samples of 64 tensors
};

/// `gguf` comes from open(). Errors: as file_stamp.
ModelIdentity identify_model(const GgufFile& gguf);

/// content_hash of metadata and tensor table alone: what model_content_hash begins with.
std::string header_hash(const GgufFile& gguf);

/// Hash of metadata, tensor table and all tensor data. Reads everything, in bounded memory; pages are given back as it
/// goes. Errors: cancelled.
std::string model_content_hash(const GgufFile& gguf, const Task& task);

}  // namespace thimble
