// Identity of a model in journals and reports.
#pragma once

#include <string>

#include "format/gguf.h"

namespace thimble {

/// content_hash of the file; of a split set, a hash over its first part and the tensors of all. `gguf` comes from
/// open(). Errors: as MappedFile.
std::string model_hash(const GgufFile& gguf);

}  // namespace thimble
