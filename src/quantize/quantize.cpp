// From a float GGUF and a recipe to a quantized GGUF: the plan (types, sizes, metadata) and its execution.
#include "quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "format/gguf_summary.h"
#include "format/gguf_writer.h"
#include "quantize/awq.h"
#include "quantize/convert_rows.h"
#include "quantize/outlier_branch.h"
#include "quantize/resumable_quantize.h"
#include "quantize/smooth.h"
#include "quantize/tensor_rounder.h"

namespace thimble {

namespace {

constexpr uint32_t kGgmlQuantizationVersion = 2;  // GGML_QNT_VERSION: the block layouts of llama.cpp since 2023

constexpr uint32_t kThimbleKeysVersion = 1;  // of the keys thimble.*, docs/FORMAT.md

void refuse_quantized(const GgufFile& input) {
  for (const GgufTensor& tensor : input.tensors()) {
    const TypeTraits& type = traits(tensor.view.type);
    if (type.is_quantized) {
      fail(ErrorCode::invalid_argument,
           "{}: tensor {}: found type {}, expected f32, f16 or bf16: the file is already quantized and rounding twice "
           "costs quality; quantize the float model instead",
           input.source(), tensor.name, type.name);
    }
  }
}

std::vector<TypeChoice> choose(const GgufFile& input, const Recipe& recipe, bool has_importance) {
  std::vector<TensorShape> shapes;
  shapes.reserve(input.tensors().size());
  for (const GgufTensor& tensor : input.tensors()) {
    shapes.push_back({tensor.name, tensor.view.ne, tensor.n_dims, tensor.view.type});
  }
  return choose_types(recipe, read_model_config(input), shapes, has_importance);
}

// Integer and f64 tensors can be kept, not converted.
void check_conversion(const GgufFile& input, const GgufTensor& tensor, const TypeChoice& choice) {
  const TypeTraits& from = traits(tensor.view.type);
  if (choice.type != from.type && from.decode == nullptr) {
    fail(ErrorCode::unsupported, "{}: tensor {}: found type {}, expected f32, f16 or bf16", input.source(), tensor.name,
         from.name);
  }
}

void set_metadata(const GgufFile& input, const Recipe& recipe, GgufMetadata* metadata) {
  for (const GgufKeyValue& value : input.metadata()) metadata->set(value);
  metadata->set_uint32("general.quantization_version", kGgmlQuantizationVersion);
  metadata->set_uint32("general.file_type", file_type_id(recipe.scheme));
  metadata->set_uint32("thimble.version", kThimbleKeysVersion);
  metadata->set_string("thimble.scheme", recipe.scheme);
  if (!recipe.rules.empty()) metadata->set_string("thimble.recipe", recipe.name);
  if (recipe.fold != FoldMethod::none) metadata->set_string("thimble.fold", fold_method_name(recipe.fold));
  if (recipe.rounding.method == RoundingMethod::search && recipe.rounding_rules.empty()) return;
  metadata->set_string("thimble.rounding", rounding_method_name(recipe.rounding.method));
}

// What a reader of the file must know (docs/FORMAT.md).
void set_features(std::span<const TypeChoice> choices, GgufMetadata* metadata) {
  const auto any = [&](auto&& test) { return std::any_of(choices.begin(), choices.end(), test); };
  std::vector<std::string> features;
  if (any([](const TypeChoice& c) { return traits(c.type).is_own(); })) features.emplace_back("group_types");
  if (any([](const TypeChoice& c) { return c.outliers > 0; })) features.emplace_back("outlier_branch");
  if (!features.empty()) metadata->set_strings("thimble.features", features);
}

void add_tensor(const GgufTensorPlan& tensor, TensorType from, const std::string& reason, GgufTotals* totals,
                QuantizePlan* plan) {
  const uint64_t bytes = gguf_tensor_bytes(tensor);
  totals->add(tensor.name, static_cast<uint64_t>(tensor.ne[0] * tensor.ne[1] * tensor.ne[2] * tensor.ne[3]), bytes);
  plan->tensors.push_back(tensor);
  plan->result.tensors.push_back({tensor.name, tensor.ne, from, tensor.type, bytes, reason});
}

void add_branches(const GgufFile& input, std::span<const TypeChoice> choices, GgufTotals* totals, QuantizePlan* plan) {
  for (size_t i = 0; i < choices.size(); ++i) {
    const GgufTensor& tensor = input.tensors()[i];
    plan->outliers.push_back(choices[i].outliers);
    plan->branch_at.push_back(plan->tensors.size());
    if (choices[i].outliers == 0) continue;
    for (const GgufTensorPlan& part : outlier_tensors(tensor.name, choices[i].outliers, tensor.view.ne[1])) {
      add_tensor(part, tensor.view.type, "outlier branch", totals, plan);
    }
  }
}

QuantizePlan make_plan(const GgufFile& input, const Recipe& recipe, bool has_importance) {
  refuse_quantized(input);
  const std::vector<TypeChoice> choices = choose(input, recipe, has_importance);
  QuantizePlan plan;
  GgufTotals totals;
  set_metadata(input, recipe, &plan.metadata);
  set_features(choices, &plan.metadata);
  for (size_t i = 0; i < choices.size(); ++i) {
    const GgufTensor& tensor = input.tensors()[i];
    check_conversion(input, tensor, choices[i]);
    const GgufTensorPlan written = {std::string(tensor.name), choices[i].type, tensor.n_dims, tensor.view.ne};
    add_tensor(written, tensor.view.type, choices[i].reason, &totals, &plan);
  }
  add_branches(input, choices, &totals, &plan);
  plan.result.file_bytes = gguf_file_bytes(plan.metadata, plan.tensors);
  plan.result.bits_per_weight = totals.bits_per_weight();
  plan.result.body_bits_per_weight = totals.body_bits_per_weight();
  return plan;
}

// The input stays mapped while the output is written: replacing it would lose the only float copy.
void refuse_overwriting(const GgufFile& input, const std::string& output_path) {
  std::error_code ignored;
  for (const std::string& path : input.paths()) {
    if (!std::filesystem::equivalent(path, output_path, ignored)) continue;
    fail(ErrorCode::invalid_argument, "{}: the output is the input {}, expected another file name", output_path, path);
  }
}

// One warning for all fallbacks: a model whose width does not fit the k-quants has hundreds of them.
void say_choices(const QuantizeResult& result, const Recipe& recipe, const Task& task) {
  size_t n_fallbacks = 0;
  const QuantizedTensor* first = nullptr;
  for (const QuantizedTensor& tensor : result.tensors) {
    task.say(LogLevel::debug, "{}: {} as {}: {}", recipe.name, tensor.name, traits(tensor.to).name, tensor.reason);
    if (tensor.reason.find("fallback") == std::string::npos) continue;
    ++n_fallbacks;
    if (first == nullptr) first = &tensor;
  }
  if (first != nullptr) {
    task.say(LogLevel::warning, "{}: {} of {} tensors got another type than the scheme's, the first is {} as {} ({})",
             recipe.name, n_fallbacks, result.tensors.size(), first->name, traits(first->to).name, first->reason);
  }
}

}  // namespace

QuantizeResult plan_quantize(const GgufFile& input, const Recipe& recipe, bool has_importance) {
  return make_plan(input, recipe, has_importance).result;
}

namespace {

// Rows one by one: for files that need neither second moments nor folds. Too quick to be worth resuming.
void write_rows(const GgufFile& input, const std::string& output_path, const QuantizePlan& plan,
                const TensorRounder& statistics, ThreadPool& pool, const Task& task) {
  uint64_t total = 0;
  for (const GgufTensor& tensor : input.tensors()) total += static_cast<uint64_t>(tensor.view.n_elements());
  GgufWriter writer(output_path, plan.metadata, plan.tensors);
  RowConverter converter(pool, task);
  uint64_t done = 0;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const GgufTensor& tensor = input.tensors()[i];
    task.report(done, total, tensor.name);
    task.check(output_path);
    const RowConversion job = {
        input.source(), tensor.name, tensor.view, plan.tensors[i].type, statistics.importance(tensor), {}};
    converter.convert(
        job, [&](std::span<const std::byte> piece) { writer.write(piece); },
        [&](int64_t elements) {
          task.report(done + static_cast<uint64_t>(elements), total, tensor.name);
          const int64_t rows = elements / tensor.view.ne[0];
          input.release(tensor.view.data.first(static_cast<size_t>(rows) * tensor.view.row_bytes()));
        });
    done += static_cast<uint64_t>(tensor.view.n_elements());
  }
  writer.commit();
}

// The folds asked for and those the recipe has searched.
FoldPlan fold_plan(const GgufFile& input, const Recipe& recipe, const QuantizeInputs& inputs,
                   const ops::Backend& backend, const Task& task) {
  FoldPlan plan = inputs.folds;
  check_plan(plan, input);
  if (recipe.fold == FoldMethod::none) return plan;
  if (inputs.calibration == nullptr) {
    fail(ErrorCode::invalid_argument, "recipe {}: fold {} needs a calibration of {}, found none", recipe.name,
         fold_method_name(recipe.fold), input.source());
  }
  const std::vector<TypeChoice> choices = choose(input, recipe, true);
  const FoldSearch found = recipe.fold == FoldMethod::awq
                               ? search_awq(input, *inputs.calibration, choices, {}, backend, task)
                               : search_smooth(input, *inputs.calibration, choices, {}, backend, task);
  say_fold_search(found, fold_method_name(recipe.fold), task);
  compose(&plan, found.plan);
  return plan;
}

// A method that nothing can be known for is a mistake of the caller, not one of the tensors that fall back.
void require_statistics(const GgufFile& input, const Recipe& recipe, const QuantizeInputs& inputs) {
  if (inputs.calibration != nullptr) return;
  const auto wants = [](const RoundingSettings& rounding) { return rounding.method != RoundingMethod::search; };
  const bool any =
      wants(recipe.rounding) || std::any_of(recipe.rounding_rules.begin(), recipe.rounding_rules.end(),
                                            [&](const RoundingRule& rule) { return wants(rule.rounding); });
  if (any) {
    fail(ErrorCode::invalid_argument, "recipe {}: rounding by {} needs a calibration of {}, found none", recipe.name,
         rounding_method_name(recipe.rounding.method), input.source());
  }
}

void say_roundings(const QuantizeResult& result, const Recipe& recipe, const Task& task) {
  size_t n_fallbacks = 0;
  const QuantizedTensor* first = nullptr;
  for (const QuantizedTensor& t : result.tensors) {
    if (t.loss.calibration >= 0.0 || t.loss.heldout >= 0.0) {
      task.say(LogLevel::info, "{}: {} by {} (damping {}): error {:.3g} of {:.3g}, held out {:.3g} of {:.3g}", t.name,
               traits(t.to).name, rounding_method_name(t.method), t.damp, t.loss.calibration, t.search_loss.calibration,
               t.loss.heldout, t.search_loss.heldout);
    }
    if (t.fallback.empty()) continue;
    ++n_fallbacks;
    if (first == nullptr) first = &t;
  }
  if (first != nullptr) {
    task.say(LogLevel::warning, "{}: {} of {} tensors were rounded by search instead, the first is {}: {}", recipe.name,
             n_fallbacks, result.tensors.size(), first->name, first->fallback);
  }
}

}  // namespace

QuantizeResult quantize(const GgufFile& input, const std::string& output_path, const Recipe& recipe,
                        const QuantizeInputs& inputs, ThreadPool& pool, const Task& task) {
  if (inputs.calibration != nullptr) inputs.calibration->require_model(input);
  require_statistics(input, recipe, inputs);
  const bool has_importance = inputs.calibration != nullptr || !inputs.importance.empty();
  QuantizePlan plan = make_plan(input, recipe, has_importance);
  if (inputs.calibration != nullptr) plan.metadata.set_string("thimble.calibration", inputs.calibration->info().data);
  plan.result.file_bytes = gguf_file_bytes(plan.metadata, plan.tensors);
  refuse_overwriting(input, output_path);
  say_choices(plan.result, recipe, task);
  const ops::Backend backend = ops::make_backend(pool, kernels::best_isa(host_cpu()));
  const FoldPlan folds = fold_plan(input, recipe, inputs, backend, task);
  TensorRounder rounder(input, recipe, inputs, folds, backend, task);
  bool whole = false;
  for (size_t i = 0; i < input.tensors().size(); ++i) {
    whole |= plan.outliers[i] > 0 || rounder.needs_whole(input.tensors()[i], plan.tensors[i].type);
  }
  if (whole) {
    write_resumable({&input, &recipe, &inputs, &folds}, output_path, plan, rounder, pool, task);
  } else {
    write_rows(input, output_path, plan, rounder, pool, task);
  }
  say_roundings(plan.result, recipe, task);
  return std::move(plan.result);
}

BitsPerWeight bits_per_weight(const GgufFile& file) noexcept {
  const GgufTotals totals = tensor_totals(file);
  return {totals.bits_per_weight(), totals.body_bits_per_weight()};
}

}  // namespace thimble
