#include "packing.h"

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "model/model.h"

namespace thimble::cli {

namespace {

const char* state_name(SidecarState state) {
  switch (state) {
    case SidecarState::missing:
      return "missing";
    case SidecarState::valid:
      return "valid";
    case SidecarState::touched:
      return "unsettled";
    case SidecarState::unusable:
      return "unusable";
  }
  return "";
}

}  // namespace

std::string packed_folder() {
  namespace fs = std::filesystem;
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  // The XDG base directory specification: a relative path is to be ignored.
  if (cache != nullptr && fs::path(cache).is_absolute()) return (fs::path(cache) / "thimble/packed").string();
  const char* const home = std::getenv("HOME");
  if (home != nullptr && fs::path(home).is_absolute()) return (fs::path(home) / ".cache/thimble/packed").string();
  return "";
}

PackOptions PackingFlags::options() const {
  PackOptions options;
  options.policy = no_pack ? PackPolicy::none : PackPolicy::sidecar;
  options.folder = packed_folder();
  options.file = file;
  return options;
}

std::shared_ptr<PackingFlags> add_packing_flags(CLI::App& verb) {
  auto flags = std::make_shared<PackingFlags>();
  CLI::Option* no_pack = verb.add_flag("--no-pack", flags->no_pack,
                                       "multiply from the layout of the model file instead of packing its weights");
  verb.add_option("--packed", flags->file, "use exactly these packed weights (thimble pack), or stop")
      ->excludes(no_pack);
  return flags;
}

Json describe_packed(const GgufFile& gguf) {
  Json out = Json::array();
  try {
    const kernels::Isa isa = kernels::best_isa(host_cpu());
    const PackPlan plan = plan_packing(Model(gguf, isa).matrices(), isa);
    if (plan.items.empty()) return out;
    const ModelIdentity identity = identify_model(gguf);
    std::vector<std::string> places = {sidecar_beside(gguf.source(), plan.lanes)};
    if (const std::string folder = packed_folder(); !folder.empty()) {
      places.push_back(sidecar_in(folder, gguf.source(), identity, plan.lanes));
    }
    for (const std::string& path : places) {
      const SidecarCheck check = check_sidecar(path, identity, plan);
      out.push_back({{"path", path},
                     {"state", state_name(check.state)},
                     {"reason", check.state == SidecarState::missing ? Json() : Json(check.reason)},
                     {"bytes", check.file.bytes().size()}});
    }
  } catch (const Error&) {
    // A file that no model can be made of is for other lines of inspect to describe.
    out = Json::array();
  }
  return out;
}

}  // namespace thimble::cli
