// What folding changes: for each scheme, the model quantized by importance-weighted search with and without AWQ, and
// Q8_0 with and without SmoothQuant, as files that thimble eval and stock llama.cpp compare. docs/QUANTIZATION.md.
// Usage: thimble_fold_study MODEL.gguf CALIB.thimble OUTDIR SCHEME...
// SCHEME: a name of thimble quantize, or NAME:METHOD with a rounding method (gptq, gptq_cd, best) for search.
// Prints one JSON object: the choice at every site.
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/json.h"
#include "format/gguf_writer.h"
#include "quantize/awq.h"
#include "quantize/fold_file.h"
#include "quantize/fold_rounding.h"
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

  /// The same with a second-order rounding, which decides about the folds too.
  Json awq_with(const std::string& scheme, const std::string& method) {
    const Recipe recipe = recipe_from_scheme(scheme);
    const std::vector<TypeChoice> choices = choices_of(*model_, recipe);
    RoundingSettings rounding;
    rounding.method = rounding_method_from_name(method);
    Rounder rounder(backend_, rounding);
    AwqSettings settings;
    settings.final_round = round_by_method(&rounder, *calibration_);
    const FoldSearch found = search_awq(*model_, *calibration_, choices, settings, backend_, task_);
    write_rounded({}, choices, &rounder, scheme + "-" + method);
    write_rounded(found.plan, choices, &rounder, scheme + "-awq-" + method);
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

  /// All tensors folded by `plan` and rounded by `rounder`.
  void write_rounded(const FoldPlan& plan, std::span<const TypeChoice> choices, Rounder* rounder,
                     const std::string& name) {
    GgufMetadata metadata;
    for (const GgufKeyValue& value : model_->metadata()) metadata.set(value);
    std::vector<GgufTensorPlan> tensors;
    for (size_t i = 0; i < choices.size(); ++i) {
      const GgufTensor& tensor = model_->tensors()[i];
      tensors.push_back({std::string(tensor.name), choices[i].type, tensor.n_dims, tensor.view.ne});
    }
    GgufWriter writer(folder_ + "/" + name + ".gguf", metadata, tensors);
    for (size_t i = 0; i < choices.size(); ++i) {
      const GgufTensor& tensor = model_->tensors()[i];
      const bool vector = tensor.n_dims == 1;
      const int64_t n_in = vector ? 1 : tensor.view.ne[0];
      const int64_t n_rows = tensor.view.n_elements() / n_in;
      std::vector<float> weights(static_cast<size_t>(n_rows * n_in));
      traits(tensor.view.type).decode(tensor.view.data.data(), weights.data(), n_rows * n_in);
      const TensorScales* scales = find_scales(plan, tensor.name);
      if (scales != nullptr) apply_fold(*scales, weights.data(), 0, n_rows, n_in);
      const bool has_columns = scales != nullptr && !scales->columns.empty();
      const std::vector<float> columns =
          has_columns ? scales->columns : std::vector<float>(static_cast<size_t>(n_in), 1.0f);
      writer.write(round(tensor, choices[i].type, weights, columns, rounder));
    }
    writer.commit();
  }

  std::vector<std::byte> round(const GgufTensor& tensor, TensorType type, const std::vector<float>& weights,
                               const std::vector<float>& columns, Rounder* rounder) {
    RoundingInput input;
    input.name = tensor.name;
    input.weights = weights.data();
    input.n_in = tensor.n_dims == 1 ? static_cast<int64_t>(weights.size()) : tensor.view.ne[0];
    input.n_out = static_cast<int64_t>(weights.size()) / input.n_in;
    input.type = type;
    std::vector<float> importance, rows;
    SecondMoment moment;
    if (const InputStatistics* statistics = calibration_->find(tensor.name); statistics != nullptr) {
      importance = statistics->mean_square;
      fold_statistic(columns, 2, importance);
      input.importance = importance;
      const HeldOut heldout = calibration_->heldout(tensor.name);
      rows.assign(heldout.rows, heldout.rows + heldout.n_rows * heldout.n_in);
      fold_inputs(columns, rows.data(), heldout.n_rows);
      input.heldout = {heldout.n_rows, heldout.n_in, rows.data()};
      moment = calibration_->second_moment(tensor.name);
      fold_second_moment(columns, moment.values.data());
      input.second_moment = &moment;
    }
    return rounder->round(input).bytes;
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
  for (int i = 4; i < argc; ++i) {
    const std::string name = argv[i];
    const size_t colon = name.find(':');
    out[name] =
        colon == std::string::npos ? study.awq(name) : study.awq_with(name.substr(0, colon), name.substr(colon + 1));
  }
  if (std::filesystem::exists(std::string(argv[3]) + "/q8_0-plain.gguf")) return out;
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
