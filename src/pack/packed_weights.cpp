#include "pack/packed_weights.h"

#include <sys/mman.h>

#include "base/error.h"
#include "base/huge_pages.h"
#include "base/physical_memory.h"

namespace thimble {

namespace {

constexpr size_t kMemoryAlignment = 64;

size_t aligned(uint64_t bytes) noexcept {
  return static_cast<size_t>((bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment);
}

// Packed into memory, weights that the system could drop and read again become pages that it cannot. Half of the
// machine is where that starts to hurt others.
uint64_t memory_limit() noexcept {
  const std::optional<uint64_t> physical = physical_memory();
  return physical ? *physical / 2 : UINT64_MAX;
}

}  // namespace

PackedWeights::~PackedWeights() {
  if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
}

const std::byte* PackedWeights::find(const NamedMatrix& matrix, int lanes) const noexcept {
  const auto found = panels_.find(matrix.name);
  if (found == panels_.end() || lanes < 1) return nullptr;
  const Panels& panels = found->second;
  const PackItem expected = {{}, matrix.view, lanes};
  const bool same = panels.type == matrix.view.type && panels.lanes == lanes && panels.bytes == expected.bytes();
  return same ? panels.data : nullptr;
}

class PackedLoader {
 public:
  using Result = std::shared_ptr<const PackedWeights>;

  PackedLoader(const GgufFile& gguf, const PackPlan& plan, ThreadPool& pool, const Task& task)
      : gguf_(gguf), plan_(plan), pool_(pool), task_(task) {}

  Result from_file(const std::string& path) {
    const ModelIdentity model = identify_model(gguf_);
    SidecarCheck check = check_sidecar(path, model, plan_);
    settle_touched(check, gguf_, model, task_);
    if (check.state != SidecarState::valid) throw Error(check.code, check.reason);
    return adopt(std::move(check));
  }

  /// Uses a sidecar that is there, else packs one, else packs into memory.
  Result from_sidecar(const std::string& folder, uint64_t min_bytes) {
    const ModelIdentity model = identify_model(gguf_);
    std::vector<std::string> places = {sidecar_beside(gguf_.source(), plan_.lanes)};
    if (!folder.empty()) places.push_back(sidecar_in(folder, gguf_.source(), model, plan_.lanes));
    bool any = false;
    std::vector<std::string> targets;
    for (const std::string& path : places) {
      SidecarCheck check = check_sidecar(path, model, plan_);
      settle_touched(check, gguf_, model, task_);
      if (check.state == SidecarState::valid) return adopt(std::move(check));
      const bool exists = check.state != SidecarState::missing;
      if (exists) task_.say(LogLevel::info, "{}; not used", check.reason);
      any = any || exists;
      // Beside the model only what somebody put there is replaced.
      if (exists || path != places.front()) targets.push_back(path);
    }
    if (!any && plan_.bytes() < min_bytes) return in_memory();
    for (const std::string& path : targets) {
      if (Result made = pack_to(path, model)) return made;
    }
    return in_memory();
  }

  Result in_memory() {
    if (plan_.bytes() > memory_limit()) {
      task_.say(LogLevel::warning, "{}: not packed: {} bytes are more than half of this machine's memory",
                gguf_.source(), plan_.bytes());
      return nullptr;
    }
    const std::shared_ptr<PackedWeights> out(new PackedWeights());
    for (const PackItem& item : plan_.items) out->memory_bytes_ += aligned(item.bytes());
    // Not AlignedBuffer: it would write zeros first, and large pages save the misses of a stream of gigabytes.
    void* memory = ::mmap(nullptr, out->memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      task_.say(LogLevel::warning, "{}: not packed: no memory for {} bytes", gguf_.source(), out->memory_bytes_);
      return nullptr;
    }
    ask_for_huge_pages(memory, out->memory_bytes_);
    out->memory_ = static_cast<std::byte*>(memory);
    std::byte* to = out->memory_;
    for (const PackItem& item : plan_.items) {
      pack_item(item, to, static_cast<uint64_t>(to - out->memory_));
      out->panels_.emplace(item.name, PackedWeights::Panels{item.view.type, item.lanes, item.bytes(), to});
      to += aligned(item.bytes());
    }
    out->bytes_ = plan_.bytes();
    ::mprotect(memory, out->memory_bytes_, PROT_READ);  // a stray write is then a crash where it happens
    task_.say(LogLevel::debug, "{}: packed {} bytes into memory", gguf_.source(), out->bytes_);
    return out;
  }

 private:
  void pack_item(const PackItem& item, std::byte* out, uint64_t done) {
    for_each_chunk(item, [&](const PanelChunk& chunk) {
      task_.check("packing weights");
      task_.report(done, plan_.bytes(), "packing weights");
      pack_panels(item, chunk.begin, chunk.end, out, pool_);
      gguf_.release(chunk.source);
      out += chunk.packed_bytes;
      done += chunk.packed_bytes;
    });
  }

  // Null when it could not be written, which has been said.
  Result pack_to(const std::string& path, const ModelIdentity& model) {
    try {
      create_sidecar_folder(path);
      task_.say(LogLevel::info, "{}: packing {} bytes into {}", gguf_.source(), plan_.bytes(), path);
      write_sidecar(path, gguf_, model, plan_, pool_, task_);
      SidecarCheck check = check_sidecar(path, model, plan_);
      if (check.state != SidecarState::valid) throw Error(check.code, check.reason);
      return adopt(std::move(check));
    } catch (const Error& e) {
      if (e.code() == ErrorCode::cancelled) throw;
      task_.say(LogLevel::warning, "{}; going on without packed weights in a file", e.what());
      return nullptr;
    }
  }

  Result adopt(SidecarCheck&& check) {
    const std::shared_ptr<PackedWeights> out(new PackedWeights());
    out->file_ = std::move(check.file);
    const std::span<const std::byte> mapped = out->file_.bytes();
    ask_for_huge_pages(mapped.data(), mapped.size());  // pages not in memory yet are then read in as huge ones
    for (const SidecarTensor& t : check.header.tensors) {
      out->panels_.emplace(t.name,
                           PackedWeights::Panels{t.type, t.lanes, t.bytes, out->file_.bytes().data() + t.offset});
      out->bytes_ += t.bytes;
    }
    task_.say(LogLevel::info, "{}: packed weights in {}", gguf_.source(), out->path());
    return out;
  }

  const GgufFile& gguf_;
  const PackPlan& plan_;
  ThreadPool& pool_;
  const Task& task_;
};

std::shared_ptr<const PackedWeights> load_packed(const GgufFile& gguf, const PackPlan& plan, const PackOptions& options,
                                                 ThreadPool& pool, const Task& task) {
  if (plan.items.empty() || options.policy == PackPolicy::none) return nullptr;
  PackedLoader loader(gguf, plan, pool, task);
  if (options.policy == PackPolicy::memory) return loader.in_memory();
  if (!options.file.empty()) return loader.from_file(options.file);
  return gguf.paths().empty() ? loader.in_memory() : loader.from_sidecar(options.folder, options.min_bytes);
}

}  // namespace thimble
