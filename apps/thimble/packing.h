// Where the program keeps packed weights, and the flags of every verb that loads a model.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "base/json.h"
#include "pack/packed_weights.h"

namespace thimble::cli {

/// $XDG_CACHE_HOME/thimble/packed, or ~/.cache/thimble/packed; "" when the environment names neither.
std::string packed_folder();

/// Filled by the flags that add_packing_flags adds.
struct PackingFlags {
  bool no_pack = false;
  std::string file;
  /// What the program does by default: a sidecar, beside the model or in packed_folder().
  PackOptions options() const;
};

/// --no-pack and --packed FILE. Reads after the verb's flags were parsed.
std::shared_ptr<PackingFlags> add_packing_flags(CLI::App& verb);

/// The sidecars that a load on this processor would look at, first choice first: [{path, state, reason, bytes}]. Empty
/// when no kernel reads packed weights of this file, or no model can be made of it.
Json describe_packed(const GgufFile& gguf);

}  // namespace thimble::cli
