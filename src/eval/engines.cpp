#include "eval/engines.h"

#include "base/cpu_topology.h"

namespace thimble {

namespace {

// Below this size several single-threaded engines beat one engine with several threads: the barriers between the
// matmuls of a small model cost more than its weights take to read.
constexpr uint64_t kSmallModelBytes = uint64_t{256} << 20;

}  // namespace

std::vector<std::shared_ptr<const Engine>> open_task_engines(const std::string& path, const EngineOptions& options,
                                                             const Task& progress) {
  GgufFile gguf = GgufFile::open(path);
  const int n_threads = options.n_threads > 0 ? options.n_threads : usable_cpu_count();
  const bool small = gguf.file_bytes() <= kSmallModelBytes;
  EngineOptions each = options;
  each.n_threads = small ? 1 : n_threads;
  std::vector<std::shared_ptr<const Engine>> out;
  out.push_back(Engine::from_gguf(std::move(gguf), each, progress));
  for (int i = 1; small && i < n_threads; ++i) {
    each.packed = out.front()->model().packed();
    out.push_back(Engine::open(path, each));
  }
  return out;
}

}  // namespace thimble
