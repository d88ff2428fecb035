// thimble convert: a Hugging Face folder becomes one GGUF file.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "convert/convert.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

struct ConvertOptions {
  std::string folder;
  std::string output;
  std::string type = "auto";
};

Json imports_of(const ConvertResult& result) {
  Json imports = Json::array();
  for (const ImportedTensor& tensor : result.imported) {
    imports.push_back({{"name", tensor.name},
                       {"packing", result.packing},
                       {"type", traits(tensor.type).name},
                       {"largest_change", tensor.largest_change},
                       {"change_in_steps", tensor.change_in_steps}});
  }
  return imports;
}

void print_imports(const ConvertResult& result) {
  if (result.imported.empty()) return;
  uint64_t exact = 0;
  const ImportedTensor* worst = &result.imported.front();
  for (const ImportedTensor& tensor : result.imported) {
    exact += tensor.largest_change == 0.0 ? 1 : 0;
    if (tensor.change_in_steps > worst->change_in_steps) worst = &tensor;
  }
  fmt::print("{} matrices imported from {}, {} of them exactly", result.imported.size(), result.packing, exact);
  if (worst->change_in_steps > 0.0) {
    fmt::print("; the others change by at most {:.2g} of a quantization step ({}: {:.2g}); --type q5_0 is exact",
               worst->change_in_steps, worst->name, worst->largest_change);
  }
  fmt::print("\n");
}

void run_convert(const ConvertOptions& options, const Context& context) {
  std::optional<TensorType> type;
  if (options.type != "auto") type = find_type(options.type)->type;
  const ConvertResult result = import_hf(options.folder, options.output, type, context.task());
  print_checked([&] {
    if (context.json) {
      const Json report = {{"output", options.output},         {"architecture", result.architecture},
                           {"type", traits(result.type).name}, {"tensors", result.n_tensors},
                           {"bytes", result.file_bytes},       {"imported", imports_of(result)}};
      fmt::print("{}\n", report.dump(2, ' ', false, Json::error_handler_t::replace));
    } else {
      fmt::print("{}: {}, {} tensors as {}, {:.1f} MB\n", options.output, result.architecture, result.n_tensors,
                 traits(result.type).name, static_cast<double>(result.file_bytes) / 1e6);
      print_imports(result);
    }
  });
}

}  // namespace

void add_convert(CLI::App& app, Context& context) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App* verb =
      app.add_subcommand("convert", "turn a Hugging Face folder (safetensors; float, GPTQ or AWQ) into a GGUF file");
  verb->add_option("hf_dir", options->folder, "folder with config.json, tokenizer and safetensors")
      ->required()
      ->type_name("HF_DIR");
  verb->add_option("-o,--output", options->output, "GGUF file to write")->required()->type_name("OUT.gguf");
  verb->add_option(
          "--type", options->type,
          "type of the matrices: f16 (auto), bf16 or f32; of packed ones (GPTQ, AWQ) also q4_0 or q4_1 (auto), "
          "q5_0, q8_0, i4_g64, i4_g128")
      ->check(CLI::IsMember({"auto", "f16", "bf16", "f32", "q4_0", "q4_1", "q5_0", "q8_0", "i4_g64", "i4_g128"}))
      ->capture_default_str();
  verb->callback([options, &context] { run_convert(*options, context); });
}

}  // namespace thimble::cli
