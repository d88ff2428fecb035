// From a float GGUF and a recipe to a quantized GGUF: the plan (types, sizes, metadata) and its execution.
#include "quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "format/gguf_summary.h"
#include "format/gguf_writer.h"
#include "quantize/convert_rows.h"

namespace thimble {

namespace {

constexpr uint32_t kGgmlQuantizationVersion = 2;  // GGML_QNT_VERSION: the block layouts of llama.cpp since 2023

constexpr uint32_t kThimbleKeysVersion = 1;  // of the keys thimble.*, docs/FORMAT.md

/// Everything decided before the first weight is read.
struct Plan {
  GgufMetadata metadata;
  std::vector<GgufTensorPlan> tensors;
  QuantizeResult result;
};

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
}

void count(GgufTotals* totals, std::string_view name, uint64_t elements, uint64_t bytes) {
  totals->elements += elements;
  totals->bytes += bytes;
  if (name == "token_embd.weight" || name == "output.weight") return;
  totals->body_elements += elements;
  totals->body_bytes += bytes;
}

Plan make_plan(const GgufFile& input, const Recipe& recipe, bool has_importance) {
  refuse_quantized(input);
  const std::vector<TypeChoice> choices = choose(input, recipe, has_importance);
  Plan plan;
  GgufTotals totals;
  set_metadata(input, recipe, &plan.metadata);
  for (size_t i = 0; i < choices.size(); ++i) {
    const GgufTensor& tensor = input.tensors()[i];
    check_conversion(input, tensor, choices[i]);
    plan.tensors.push_back({std::string(tensor.name), choices[i].type, tensor.n_dims, tensor.view.ne});
    const uint64_t bytes = gguf_tensor_bytes(plan.tensors.back());
    count(&totals, tensor.name, static_cast<uint64_t>(tensor.view.n_elements()), bytes);
    plan.result.tensors.push_back(
        {plan.tensors.back().name, tensor.view.ne, tensor.view.type, choices[i].type, bytes, choices[i].reason});
  }
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

std::span<const float> importance_of(const Importance& importance, const GgufTensor& tensor) {
  const auto found = importance.find(std::string(tensor.name));
  if (found == importance.end()) return {};
  const std::vector<float>& values = found->second;
  const auto n_cols = static_cast<uint64_t>(tensor.view.ne[0]);
  if (values.size() != n_cols && values.size() != n_cols * static_cast<uint64_t>(tensor.view.ne[2])) {
    fail(ErrorCode::invalid_argument, "importance of tensor {}: found {} values, expected {}, one per column",
         tensor.name, values.size(), n_cols);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && values[i] >= 0.0f) continue;
    fail(ErrorCode::invalid_argument, "importance of tensor {}: column {}: found {}, expected a finite value >= 0",
         tensor.name, i, values[i]);
  }
  return values;
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

QuantizeResult quantize(const GgufFile& input, const std::string& output_path, const Recipe& recipe,
                        const Importance& importance, ThreadPool& pool, const Task& task) {
  Plan plan = make_plan(input, recipe, !importance.empty());
  refuse_overwriting(input, output_path);
  uint64_t total = 0;
  for (const GgufTensor& tensor : input.tensors()) total += static_cast<uint64_t>(tensor.view.n_elements());
  say_choices(plan.result, recipe, task);
  GgufWriter writer(output_path, plan.metadata, plan.tensors);
  RowConverter converter(pool, task);
  uint64_t done = 0;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const GgufTensor& tensor = input.tensors()[i];
    task.report(done, total, tensor.name);
    task.check(output_path);
    const RowConversion job = {input.source(), tensor.name, tensor.view, plan.tensors[i].type,
                               importance_of(importance, tensor)};
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
  return std::move(plan.result);
}

BitsPerWeight bits_per_weight(const GgufFile& file) noexcept {
  const GgufTotals totals = tensor_totals(file);
  return {totals.bits_per_weight(), totals.body_bits_per_weight()};
}

}  // namespace thimble
