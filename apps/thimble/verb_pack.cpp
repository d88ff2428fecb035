// `thimble pack MODEL`: writes the packed weights that later loads map; --verify reads them all instead.
#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "isa_option.h"
#include "model/model.h"
#include "packing.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

namespace fs = std::filesystem;

struct PackArguments {
  std::string model;
  std::string output;
  std::string isa;
  bool beside = false;
  bool verify = false;
};

std::string target(const PackArguments& a, const GgufFile& gguf, const ModelIdentity& identity, int lanes) {
  if (!a.output.empty()) return a.output;
  if (a.beside) return sidecar_beside(gguf.source(), lanes);
  const std::string folder = packed_folder();
  if (folder.empty()) {
    fail(ErrorCode::invalid_argument,
         "pack: found neither XDG_CACHE_HOME nor HOME in the environment, expected one, --beside or -o");
  }
  return sidecar_in(folder, gguf.source(), identity, lanes);
}

// With --verify and no place named: the sidecar that a load would take.
std::string present(const PackArguments& a, const GgufFile& gguf, const ModelIdentity& identity, int lanes) {
  const std::string beside = sidecar_beside(gguf.source(), lanes);
  const bool named = a.beside || !a.output.empty();
  std::error_code error;
  return !named && fs::exists(beside, error) ? beside : target(a, gguf, identity, lanes);
}

SidecarCheck checked(const std::string& path, const GgufFile& gguf, const ModelIdentity& identity, const PackPlan& plan,
                     const Task& task) {
  SidecarCheck check = check_sidecar(path, identity, plan);
  settle_touched(check, gguf, identity, task);
  if (check.state != SidecarState::valid) throw Error(check.code, check.reason);
  return check;
}

void run_pack(const PackArguments& a, const Context& context) {
  const GgufFile gguf = GgufFile::open(a.model);
  const kernels::Isa isa = choose_isa(a.isa);
  const Model model(gguf, isa);
  const PackPlan plan = plan_packing(model.matrices(), isa);
  if (plan.items.empty()) {
    fail(ErrorCode::unsupported, "{}: no kernel for {} reads packed weights of its types", a.model,
         kernels::isa_name(isa));
  }
  const Task task = context.task();
  const ModelIdentity identity = identify_model(gguf);
  std::string path;
  if (a.verify) {
    path = present(a, gguf, identity, plan.lanes);
    verify_panels(checked(path, gguf, identity, plan, task), task);
  } else {
    path = target(a, gguf, identity, plan.lanes);
    if (a.output.empty() && !a.beside) create_sidecar_folder(path);
    ThreadPool pool(context.threads());
    write_sidecar(path, gguf, identity, plan, pool, task);
    checked(path, gguf, identity, plan, task);
  }
  print_checked([&] {
    if (context.json) {
      const Json out = {{"model", a.model},
                        {"packed", path},
                        {"bytes", fs::file_size(path)},
                        {"isa", kernels::isa_name(isa)},
                        {"rows_per_panel", plan.lanes},
                        {"tensors", plan.items.size()},
                        {"verified", a.verify}};
      fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
    } else {
      fmt::print("{}: {} {} bytes, {} tensors in panels of up to {} rows for {}\n", path,
                 a.verify ? "verified" : "wrote", fs::file_size(path), plan.items.size(), plan.lanes,
                 kernels::isa_name(isa));
    }
  });
}

}  // namespace

void add_pack(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand(
      "pack", "Pack the weights of a model for this processor; later loads map them instead of the model's own");
  auto a = std::make_shared<PackArguments>();
  verb->add_option("model", a->model, "GGUF file, or the first part of a split set")->required();
  CLI::Option* output = verb->add_option("-o,--output", a->output, "file to write or verify; default: in the cache");
  verb->add_flag("--beside", a->beside, "beside the model, where every user of it finds it")->excludes(output);
  verb->add_flag("--verify", a->verify, "write nothing; compare every packed tensor with the hash recorded for it");
  verb->add_option("--isa", a->isa, isa_option_help());
  verb->callback([a, &context] { run_pack(*a, context); });
}

}  // namespace thimble::cli
