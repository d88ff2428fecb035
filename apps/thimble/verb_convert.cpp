// thimble convert: a Hugging Face folder becomes one GGUF file.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
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
  std::string type = "f16";
};

void run_convert(const ConvertOptions& options, const Context& context) {
  const TypeTraits* type = find_type(options.type);
  if (type == nullptr) fail(ErrorCode::invalid_argument, "--type {}: expected f16, bf16 or f32", options.type);
  const ConvertResult result = convert_hf(options.folder, options.output, type->type, context.task());
  print_checked([&] {
    if (context.json) {
      const Json report = {{"output", options.output},
                           {"architecture", result.architecture},
                           {"type", options.type},
                           {"tensors", result.n_tensors},
                           {"bytes", result.file_bytes}};
      fmt::print("{}\n", report.dump(2, ' ', false, Json::error_handler_t::replace));
    } else {
      fmt::print("{}: {}, {} tensors as {}, {:.1f} MB\n", options.output, result.architecture, result.n_tensors,
                 options.type, static_cast<double>(result.file_bytes) / 1e6);
    }
  });
}

}  // namespace

void add_convert(CLI::App& app, Context& context) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App* verb = app.add_subcommand("convert", "turn a Hugging Face folder (safetensors) into a GGUF file");
  verb->add_option("hf_dir", options->folder, "folder with config.json, tokenizer and safetensors")
      ->required()
      ->type_name("HF_DIR");
  verb->add_option("-o,--output", options->output, "GGUF file to write")->required()->type_name("OUT.gguf");
  verb->add_option("--type", options->type, "type of the matrices: f16, bf16 or f32")
      ->check(CLI::IsMember({"f16", "bf16", "f32"}))
      ->capture_default_str();
  verb->callback([options, &context] { run_convert(*options, context); });
}

}  // namespace thimble::cli
