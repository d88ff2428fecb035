// Packed weights of one model, in a mapped sidecar or in memory, and how they are come by at load.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "format/gguf.h"
#include "pack/pack_plan.h"
#include "pack/sidecar.h"

namespace thimble {

/// How a load gets packed weights. One copy of the weights is resident in each case: pages of the model file that were
/// packed are given back.
enum class PackPolicy {
  none,     // kernels read the layout of the model file
  memory,   // packed at each load: about a second per gigabyte and core; pages that can only be swapped
  sidecar,  // packed once into a file that later loads map
};

/// Below this a model is packed into memory at every start (it takes tens of milliseconds) rather than into one more
/// file in the cache; a sidecar that exists is used whatever its size.
constexpr uint64_t kMinSidecarBytes = uint64_t{64} << 20;

struct PackOptions {
  PackPolicy policy = PackPolicy::memory;
  std::string folder;  // of sidecars; "": only one that already lies beside the model is used
  std::string file;    // exactly this sidecar, or an error
  uint64_t min_bytes = kMinSidecarBytes;
};

/// Immutable; shared by threads and by models of the same file.
class PackedWeights {
 public:
  ~PackedWeights();
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;

  /// Panels of `lanes` rows of a matrix, 64-byte aligned, or null when it is not packed, or in another shape.
  const std::byte* find(const NamedMatrix& matrix, int lanes) const noexcept;
  /// The sidecar, or "" in memory.
  const std::string& path() const noexcept { return file_.path(); }
  uint64_t bytes() const noexcept { return bytes_; }

 private:
  friend class PackedLoader;
  struct Panels {
    TensorType type;
    int lanes;
    uint64_t bytes;
    const std::byte* data;
  };
  PackedWeights() = default;
  MappedFile file_;
  std::byte* memory_ = nullptr;  // mapped
  size_t memory_bytes_ = 0;
  uint64_t bytes_ = 0;
  std::map<std::string, Panels, std::less<>> panels_;
};

/// Packed weights for `plan` as `options` want them; null when there is nothing to pack or the policy is none. A
/// sidecar that cannot be written is no error: the weights are then packed into memory, and when that has no room null
/// is given; `task` is told. Errors: those of the reason, when options.file is not a valid sidecar of this model;
/// cancelled.
std::shared_ptr<const PackedWeights> load_packed(const GgufFile& gguf, const PackPlan& plan, const PackOptions& options,
                                                 ThreadPool& pool, const Task& task);

}  // namespace thimble
