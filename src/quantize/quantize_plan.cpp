#include "quantize/quantize_plan.h"

#include <algorithm>

#include "base/error.h"
#include "format/gguf_summary.h"
#include "quantize/outlier_branch.h"

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

}  // namespace

std::vector<TypeChoice> types_of(const GgufFile& input, const Recipe& recipe, bool has_importance) {
  std::vector<TensorShape> shapes;
  shapes.reserve(input.tensors().size());
  for (const GgufTensor& tensor : input.tensors()) {
    shapes.push_back({tensor.name, tensor.view.ne, tensor.n_dims, tensor.view.type});
  }
  return choose_types(recipe, read_model_config(input), shapes, has_importance);
}

QuantizePlan make_plan(const GgufFile& input, const Recipe& recipe, bool has_importance) {
  refuse_quantized(input);
  const std::vector<TypeChoice> choices = types_of(input, recipe, has_importance);
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

QuantizeResult plan_quantize(const GgufFile& input, const Recipe& recipe, bool has_importance) {
  return make_plan(input, recipe, has_importance).result;
}

}  // namespace thimble
