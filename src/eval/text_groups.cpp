#include "eval/text_groups.h"

#include <algorithm>
#include <iterator>

#include "base/physical_memory.h"
#include "base/work_share.h"

namespace thimble {

uint64_t text_group_bytes() noexcept {
  constexpr uint64_t kLeast = uint64_t{1} << 30;
  return std::max(kLeast, physical_memory().value_or(0) / 4);
}

std::vector<FidelityResult> measure_in_groups(std::span<const TextModel> models, const EngineOptions& engine,
                                              const std::shared_ptr<const Engine>& reference, const std::string& text,
                                              const FidelitySettings& settings, const Task& progress,
                                              uint64_t group_bytes) {
  std::vector<FidelityResult> out;
  WorkShare work(progress, static_cast<double>(models.size()));
  while (out.size() < models.size()) {
    std::vector<FidelityModel> group;
    uint64_t bytes = 0;
    for (const TextModel& m : models.subspan(out.size())) {
      GgufFile gguf = GgufFile::open(m.path);
      bytes += gguf.file_bytes();
      if (!group.empty() && (!reference || bytes > group_bytes)) break;
      group.push_back({Engine::from_gguf(std::move(gguf), engine, work.quiet()), m.key});
    }
    const Task part = work.part(static_cast<double>(group.size()), "");
    std::ranges::move(measure_fidelity(group, reference, text, settings, part), std::back_inserter(out));
  }
  return out;
}

}  // namespace thimble
