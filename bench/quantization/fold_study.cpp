// What folding changes: for each scheme, the model quantized by importance-weighted search with and without AWQ, and
// Q8_0 with and without SmoothQuant, as files that thimble eval and stock llama.cpp compare. docs/QUANTIZATION.md.
// Usage: thimble_fold_study MODEL.gguf CALIB.thimble OUTDIR SCHEME...
// Prints one JSON object: the choice at every site.
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/json.h"
#include "quantize/awq.h"
#include "quantize/fold_file.h"
#include "quantize/quantize.h"
#include "quantize/smooth.h"

namespace {

using namespace thimble;

Json choices_json(const FoldSearch& search) {
  Json sites = Json::array();
  for (const FoldChoice& c : search.choices) {
    sites.push_back({{"site", c.site},
                     {"form", c.form},
                     {"ratio", c.ratio},
                     {"search_identity", c.loss_identity},
                     {"search", c.loss},
                     {"final_identity", c.final_identity},
                     {"final", c.final_loss},
                     {"heldout", c.heldout},
                     {"folded", c.folded}});
  }
  Json skipped = Json::array();
  for (const SkippedFold& s : search.skipped) skipped.push_back(s.reason);
  return {{"sites", std::move(sites)}, {"skipped", std::move(skipped)}};
}

std::vector<TypeChoice> choices_of(const GgufFile& model, const Recipe& recipe) {
  std::vector<TypeChoice> choices;
  for (const QuantizedTensor& tensor : plan_quantize(model, recipe, true).tensors) {
    choices.push_back({tensor.to, tensor.reason});
  }
  return choices;
}

Importance folded_importance(const Calibration& calibration, const FoldPlan& plan) {
  Importance importance = calibration.importance();
  for (auto& [name, values] : importance) {
    if (const TensorScales* scales = find_scales(plan, name)) fold_statistic(scales->columns, 2, values);
  }
  return importance;
}

class Study {
 public:
  Study(const GgufFile& model, const Calibration& calibration, std::string folder, ThreadPool& pool)
      : model_(&model),
        calibration_(&calibration),
        folder_(std::move(folder)),
        pool_(&pool),
        backend_(ops::make_backend(pool, kernels::best_isa(host_cpu()))) {
    task_.log = [](LogLevel, std::string_view line) {
      std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
    };
  }

  Json awq(const std::string& scheme) {
    const Recipe recipe = recipe_from_scheme(scheme);
    const FoldSearch found = search_awq(*model_, *calibration_, choices_of(*model_, recipe), {}, backend_, task_);
    quantize(*model_, folder_ + "/" + scheme + "-plain.gguf", recipe, calibration_->importance(), *pool_);
    write_both(found.plan, recipe, scheme + "-awq");
    return choices_json(found);
  }

  Json smooth(ActivationRounding activations, const std::string& name) {
    const Recipe recipe = recipe_from_scheme("q8_0");
    SmoothSettings settings;
    settings.activations = activations;
    const FoldSearch found =
        search_smooth(*model_, *calibration_, choices_of(*model_, recipe), settings, backend_, task_);
    write_both(found.plan, recipe, name);
    return choices_json(found);
  }

 private:
  void write_both(const FoldPlan& plan, const Recipe& recipe, const std::string& name) {
    const std::string folded = folder_ + "/" + name + "-float.gguf";
    write_folded(*model_, plan, folded);
    quantize(GgufFile::open(folded), folder_ + "/" + name + ".gguf", recipe, folded_importance(*calibration_, plan),
             *pool_);
  }

  const GgufFile* model_;           // not owned
  const Calibration* calibration_;  // not owned
  std::string folder_;
  ThreadPool* pool_;  // not owned
  ops::Backend backend_;
  Task task_;
};

Json run(int argc, char** argv) {
  const GgufFile model = GgufFile::open(argv[1]);
  const Calibration calibration = Calibration::open(argv[2]);
  std::filesystem::create_directories(argv[3]);
  ThreadPool pool(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  Study study(model, calibration, argv[3], pool);
  Json out = Json::object();
  for (int i = 4; i < argc; ++i) out[argv[i]] = study.awq(argv[i]);
  out["smooth_per_token"] = study.smooth(ActivationRounding::per_token, "q8_0-smooth");
  out["smooth_engine"] = study.smooth(ActivationRounding::engine, "q8_0-smooth-engine");
  quantize(model, std::string(argv[3]) + "/q8_0-plain.gguf", recipe_from_scheme("q8_0"), {}, pool);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: thimble_fold_study MODEL.gguf CALIB.thimble OUTDIR SCHEME...\n");
    return 2;
  }
  try {
    std::printf("%s\n", run(argc, argv).dump(1).c_str());
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "thimble_fold_study: %s\n", e.what());
  }
  return 1;
}
