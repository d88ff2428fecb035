// Sidecar files: where they lie, whether one belongs to a model as it is now, writing and verifying them.
#pragma once

#include <optional>
#include <string>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "format/gguf.h"
#include "pack/model_identity.h"
#include "pack/pack_plan.h"
#include "pack/sidecar_format.h"

namespace thimble {

/// MODEL.gguf.rows16.packed, beside the first file of the model.
std::string sidecar_beside(const std::string& model_path, int lanes);

/// FOLDER/NAME-FINGERPRINT.rows16.packed: models of one name do not meet.
std::string sidecar_in(const std::string& folder, const std::string& model_path, const ModelIdentity& model, int lanes);

/// Makes the folder that `path` lies in, and those above it. Errors: io.
void create_sidecar_folder(const std::string& path);

enum class SidecarState {
  missing,
  valid,
  touched,   // all but the time of the model file agrees: its content must be compared before use
  unusable,  // damaged, of another model, another layout or another version
};

struct SidecarCheck {
  SidecarState state = SidecarState::missing;
  std::string reason;                     // why it is not valid; begins with the path
  ErrorCode code = ErrorCode::not_found;  // what reason would be thrown as
  MappedFile file;                        // when valid or touched
  SidecarHeader header;                   // the same
};

/// Looks at the sidecar at `path` without reading its panels. Never throws for what the file holds.
SidecarCheck check_sidecar(const std::string& path, const ModelIdentity& model, const PackPlan& plan);

/// Compares the content of the model with that the sidecar was made from; when equal the new time is recorded and
/// `check` becomes valid, else unusable. A file that cannot be written is used all the same, and `task` told.
/// Errors: cancelled.
void settle_touched(SidecarCheck& check, const GgufFile& gguf, const ModelIdentity& model, const Task& task);

/// Packs the model into a new file at `path`, atomically, in a few megabytes of memory; pages of the model are given
/// back. `gguf` comes from open(). Errors: io, not_found, resource_exhausted (disk), cancelled; io when the model file
/// changes meanwhile.
void write_sidecar(const std::string& path, const GgufFile& gguf, const ModelIdentity& model, const PackPlan& plan,
                   ThreadPool& pool, const Task& task);

/// Compares the hash of every tensor's panels. Errors: corrupt, naming the first tensor that differs; cancelled.
void verify_panels(const SidecarCheck& check, const Task& task);

}  // namespace thimble
