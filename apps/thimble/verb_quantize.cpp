// thimble quantize: a float GGUF to a quantized one by scheme, recipe or size; --dry-run shows what would be written.
#include <fmt/format.h>

#include <optional>

#include "allocation_options.h"
#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "quantize/quantize.h"
#include "rounding_options.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

struct QuantizeOptions {
  std::string input, output;
  std::string scheme, recipe;
  std::vector<std::string> rules;
  std::string hot_weights;  // type
  bool dry_run = false;
  AllocationOptions allocation;
  RoundingOptions rounding;
};

// Rules of the command line come before those of the recipe file: the nearer wish wins.
Recipe make_recipe(const QuantizeOptions& options) {
  if (!options.scheme.empty() && !options.recipe.empty()) {
    fail(ErrorCode::invalid_argument, "quantize: expected either --scheme or --recipe");
  }
  if (options.scheme.empty() && options.recipe.empty() && !options.allocation.wanted()) {
    fail(ErrorCode::invalid_argument, "quantize: expected --scheme, --recipe or a --target-...");
  }
  if (options.output.empty() && !options.dry_run) {
    fail(ErrorCode::invalid_argument, "quantize: expected an output file name, or --dry-run");
  }
  // With a target alone, the scheme only says what tensors get that are not allocated.
  const std::string scheme = options.scheme.empty() ? "q4_k_m" : options.scheme;
  Recipe recipe = options.recipe.empty() ? recipe_from_scheme(scheme) : read_recipe(options.recipe);
  if (!options.hot_weights.empty()) {
    const TypeTraits* const type = find_type(options.hot_weights);
    if (type == nullptr ||
        (type->type != TensorType::f16 && type->type != TensorType::q8_0 && type->type != TensorType::q6_k)) {
      fail(ErrorCode::invalid_argument, "--hot-weights: found '{}', expected f16, q8_0 or q6_k", options.hot_weights);
    }
    recipe = with_hot_weights(std::move(recipe), type->type);
  }
  std::vector<RecipeRule> rules;
  for (const std::string& text : options.rules) rules.push_back(parse_rule(text));
  recipe.rules.insert(recipe.rules.begin(), rules.begin(), rules.end());
  if (!rules.empty()) recipe.name += "+rules";
  return recipe;
}

// The recipe that --target-... asks for.
AllocationReport allocate(const QuantizeOptions& options, const GgufFile& input, const Recipe& base,
                          const Calibration* calibration, const Context& context, ThreadPool& pool) {
  AllocationPipeline pipeline;
  if (calibration != nullptr) pipeline.importance = calibration->importance();
  pipeline.round = search_rounding(input.source(), pipeline.importance, pool, context.task());
  pipeline.rounding_key = "search";
  if (calibration != nullptr) pipeline.rounding_key += " " + importance_hash(pipeline.importance);
  pipeline.plan = [&](const Recipe& recipe) { return plan_quantize(input, recipe, calibration != nullptr); };
  return allocate_types(options.allocation, input, base, pipeline, context, pool);
}

Json allocation_json(const AllocationReport& report) {
  return {{"predicted_kl", report.plan.loss},
          {"predicted_kl_bound", report.plan.loss_bound},
          {"measured_kl", report.measured},
          {"scored_tokens", report.n_scored},
          {"bytes_left", report.plan.bytes_left}};
}

Json loss_json(const RoundingLoss& loss) {
  const auto or_null = [](double value) { return value < 0.0 ? Json() : Json(value); };
  return {{"calibration", or_null(loss.calibration)}, {"heldout", or_null(loss.heldout)}};
}

Json result_json(const QuantizeOptions& options, const Recipe& recipe, const QuantizeResult& result) {
  Json tensors = Json::array();
  for (const QuantizedTensor& t : result.tensors) {
    tensors.push_back({{"name", t.name},
                       {"shape", t.ne},
                       {"from", traits(t.from).name},
                       {"to", traits(t.to).name},
                       {"bytes", t.bytes},
                       {"reason", t.reason}});
    if (t.search_loss.calibration < 0.0 && t.search_loss.heldout < 0.0 && t.fallback.empty()) continue;
    tensors.back()["rounding"] = {{"method", rounding_method_name(t.method)},
                                  {"damp", t.damp},
                                  {"loss", loss_json(t.loss)},
                                  {"search_loss", loss_json(t.search_loss)},
                                  {"fallback", t.fallback}};
  }
  return {{"input", options.input},
          {"output", options.dry_run ? Json() : Json(options.output)},
          {"dry_run", options.dry_run},
          {"recipe", recipe.name},
          {"scheme", recipe.scheme},
          {"method", rounding_method_name(recipe.rounding.method)},
          {"fold", fold_method_name(recipe.fold)},
          {"file_bytes", result.file_bytes},
          {"bits_per_weight", result.bits_per_weight},
          {"body_bits_per_weight", result.body_bits_per_weight},
          {"tensors", std::move(tensors)}};
}

void print_text(const QuantizeOptions& options, const Recipe& recipe, const QuantizeResult& result) {
  size_t n_fallbacks = 0;
  for (const QuantizedTensor& t : result.tensors) {
    if (t.reason.find("fallback") != std::string::npos) ++n_fallbacks;
    if (!options.dry_run) continue;
    const std::string shape = fmt::format("{} x {}", t.ne[0], t.ne[1] * t.ne[2] * t.ne[3]);
    fmt::print("{:<32} {:>16} {:>5} -> {:<7} {:>12} bytes  {}\n", printable(t.name), shape, traits(t.from).name,
               traits(t.to).name, t.bytes, t.reason);
  }
  fmt::print("{}: {} {} bytes as {}, {:.3f} bits per weight ({:.3f} without embedding and head)\n",
             options.dry_run ? options.input : options.output, options.dry_run ? "would be" : "wrote",
             result.file_bytes, recipe.name, result.bits_per_weight, result.body_bits_per_weight);
  if (n_fallbacks > 0) {
    fmt::print("{} of {} tensors fell back to another type because of their columns{}\n", n_fallbacks,
               result.tensors.size(), options.dry_run ? "" : "; --dry-run lists them");
  }
}

}  // namespace

void add_quantize(CLI::App& app, Context& context) {
  auto options = std::make_shared<QuantizeOptions>();
  CLI::App* verb = app.add_subcommand("quantize", "Quantize a float GGUF by scheme, recipe or size");
  verb->add_option("IN", options->input, "GGUF of f32, f16 or bf16, or the first part of a split set")->required();
  verb->add_option("OUT", options->output, "GGUF to write; not needed with --dry-run");
  verb->add_option("--scheme", options->scheme,
                   "f16 q8_0 q6_k q5_k_m q5_k_s q4_1 q4_k_m q4_k_s iq4_nl q4_0 iq4_xs q3_k_m q2_k; and, not for stock "
                   "llama.cpp, i5_g64 i5_g128 i4_g64 i4_g128");
  verb->add_option("--recipe", options->recipe, "TOML file with a scheme and rules, see recipes/");
  verb->add_flag("--hot-weights{f16}", options->hot_weights,
                 "keep token embedding and output head at f16; or =q8_0, =q6_k");
  verb->add_option("--rule", options->rules, "GLOB=TYPE for tensors whose name matches; may be repeated, first wins")
      ->allow_extra_args(false);
  verb->add_flag("--dry-run", options->dry_run, "print size and types, write nothing");
  add_rounding_flags(*verb, options->rounding);
  add_allocation_flags(*verb, options->allocation);
  verb->callback([options, &context] {
    Recipe recipe = make_recipe(*options);
    const GgufFile input = GgufFile::open(options->input);
    const std::optional<Calibration> statistics = open_statistics(options->rounding);
    QuantizeInputs inputs;
    if (statistics) inputs.calibration = &*statistics;
    recipe = with_rounding(std::move(recipe), options->rounding, inputs.calibration);
    ThreadPool pool(context.threads());
    std::optional<AllocationReport> allocation;
    if (options->allocation.wanted()) {
      allocation = allocate(*options, input, recipe, inputs.calibration, context, pool);
      recipe = allocation->plan.recipe;
    }
    const QuantizeResult result = options->dry_run
                                      ? plan_quantize(input, recipe, statistics.has_value())
                                      : quantize(input, options->output, recipe, inputs, pool, context.task());
    print_checked([&] {
      if (context.json) {
        Json report = result_json(*options, recipe, result);
        if (allocation) report["allocation"] = allocation_json(*allocation);
        fmt::print("{}\n", report.dump(2, ' ', false, Json::error_handler_t::replace));  // file names need not be UTF-8
      } else {
        print_text(*options, recipe, result);
        if (allocation) {
          fmt::print(
              "divergence on {} tokens: {:.5f} nats per token (predicted for the allocated tensors {:.5f}); {} bytes "
              "left\n",
              allocation->n_scored, allocation->measured, allocation->plan.loss, allocation->plan.bytes_left);
        }
      }
    });
  });
}

}  // namespace thimble::cli
