// thimble plan: does a model fit a device, how fast would it be, how much power would it draw?
#include <fmt/format.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/json.h"
#include "device/plan.h"
#include "device/shapes.h"
#include "exit_codes.h"
#include "model/model.h"
#include "model/synthetic_model.h"
#include "quantize/quantize.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

constexpr int64_t kPlanBatch = 256;  // what a Session prefills at a time
constexpr int kPhoneThreads = 4;     // big cores of a phone; they size the attention scratch only

struct PlanOptions {
  std::string model, device, shape, scheme;
  std::string kv = "f16";
  int64_t context = 0;
};

std::vector<SizedTensor> sized(const std::vector<QuantizedTensor>& tensors) {
  std::vector<SizedTensor> out;
  for (const QuantizedTensor& t : tensors) out.push_back({t.name, t.ne, t.to});
  return out;
}

ModelFootprint shape_footprint(const PlanOptions& options) {
  const ModelShape& shape = find_model_shape(options.shape);
  const std::vector<GgufTensorPlan> tensors = synthetic_tensors(shape.config, TensorType::f16, shape.tied_output);
  std::vector<TensorShape> shapes;
  for (const GgufTensorPlan& t : tensors) shapes.push_back({t.name, t.ne, t.n_dims, t.type});
  const Recipe recipe = recipe_from_scheme(options.scheme.empty() ? "f16" : options.scheme);
  const std::vector<TypeChoice> choices = choose_types(recipe, shape.config, shapes, false);
  std::vector<SizedTensor> out;
  for (size_t i = 0; i < tensors.size(); ++i) out.push_back({tensors[i].name, tensors[i].ne, choices[i].type});
  return footprint(shape.config, out);
}

ModelFootprint model_footprint(const PlanOptions& options) {
  if (options.model.empty() == options.shape.empty()) {
    fail(ErrorCode::invalid_argument, "plan: expected either a model file or --shape");
  }
  if (!options.shape.empty()) return shape_footprint(options);
  const GgufFile gguf = GgufFile::open(options.model);
  const Model bound(gguf, kernels::best_isa(host_cpu()));  // a file that cannot run has no plan
  if (options.scheme.empty()) return footprint(gguf);
  const QuantizeResult planned = plan_quantize(gguf, recipe_from_scheme(options.scheme));
  return footprint(read_model_config(gguf), sized(planned.tensors));
}

Json plan_json(const PlanOptions& options, const DeviceProfile& device, const DevicePlan& plan) {
  return {{"model", options.shape.empty() ? options.model : options.shape},
          {"scheme", options.scheme.empty() ? Json() : Json(options.scheme)},
          {"device", device.name},
          {"device_description", device.description},
          {"kv", options.kv},
          {"weight_bytes", plan.weight_bytes},
          {"kv_bytes", plan.kv_bytes},
          {"activation_bytes", plan.activation_bytes},
          {"total_bytes", plan.total_bytes},
          {"available_bytes", plan.available_bytes},
          {"fits", plan.fits},
          {"context", plan.context},
          {"largest_context", plan.largest_context},
          {"prefill_tokens_per_s", plan.prefill_tokens_per_s},
          {"decode_tokens_per_s", plan.decode_tokens_per_s},
          {"decode_tokens_per_s_empty", plan.decode_tokens_per_s_empty},
          {"prefill_watts", plan.prefill_watts},
          {"decode_watts", plan.decode_watts},
          {"joules_per_token", plan.joules_per_token},
          {"too_slow", plan.too_slow},
          {"too_hot", plan.too_hot}};
}

std::string mb(uint64_t bytes) {
  return fmt::format("{:>9.1f} MB", static_cast<double>(bytes) / 1e6);
}

void print_text(const PlanOptions& options, const DeviceProfile& device, const DevicePlan& plan) {
  const std::string scheme = options.scheme.empty() ? "" : " as " + options.scheme;
  fmt::print("{}{} on {} ({})\n\n", options.shape.empty() ? options.model : options.shape, scheme, device.name,
             device.description);
  fmt::print("weights          {}\n", mb(plan.weight_bytes));
  fmt::print("key/value cache  {}  {} at context {}\n", mb(plan.kv_bytes), options.kv, plan.context);
  fmt::print("activations      {}  {} tokens at a time\n", mb(plan.activation_bytes), kPlanBatch);
  fmt::print("total            {}  of {} the device lends: {}\n", mb(plan.total_bytes), mb(plan.available_bytes),
             plan.fits ? "fits" : "does not fit");
  if (plan.largest_context > 0) {
    fmt::print("largest context  {:>9}     tokens\n", plan.largest_context);
  } else {
    fmt::print("largest context       none fits\n");
  }
  fmt::print("\nprefill          {:>9.1f} tokens/s\n", plan.prefill_tokens_per_s);
  fmt::print("decode           {:>9.1f} tokens/s at the first token, {:.1f} with the context full{}\n",
             plan.decode_tokens_per_s_empty, plan.decode_tokens_per_s,
             plan.too_slow ? fmt::format(": below the floor of {}", device.min_decode_tokens_per_s) : "");
  if (device.pj_per_byte > 0 || device.pj_per_op > 0) {
    fmt::print("power            {:>9.1f} W in prefill, {:.1f} W in decode ({:.2f} J per token){}\n",
               plan.prefill_watts, plan.decode_watts, plan.joules_per_token,
               plan.too_hot ? fmt::format(": above the {} W the device sustains", device.watts_limit) : "");
  } else {
    fmt::print("power              unknown for this device\n");
  }
}

}  // namespace

void add_plan(CLI::App& app, Context& context) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* verb = app.add_subcommand("plan", "Memory, speed and power of a model on a device");
  verb->add_option("MODEL", options->model, "GGUF file");
  verb->add_option("--shape", options->shape, "a named model shape instead of a file, for example mistral-7b");
  verb->add_option("--device", options->device, "device profile (TOML), or host: this machine, measured now")
      ->required();
  verb->add_option("-c,--context", options->context, "context in tokens; 0: the profile's")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 31));
  verb->add_option("--kv", options->kv, "key/value cache: f16 or int8")->check(CLI::IsMember({"f16", "int8"}));
  verb->add_option("--scheme", options->scheme, "plan for what quantize --scheme would write");
  verb->callback([options, &context] {
    const DeviceProfile device =
        options->device == "host" ? measure_host(context.threads()) : read_device_profile(options->device);
    const ModelFootprint model = model_footprint(*options);
    const ops::KvType kv = options->kv == "int8" ? ops::KvType::int8 : ops::KvType::f16;
    const int n_threads = options->device == "host" ? context.threads() : kPhoneThreads;
    const DevicePlan plan = make_plan(model, device, options->context, kv, kPlanBatch, n_threads);
    print_checked([&] {
      if (context.json) {
        fmt::print("{}\n", plan_json(*options, device, plan).dump(2, ' ', false, Json::error_handler_t::replace));
      } else {
        print_text(*options, device, plan);
      }
    });
    if (!plan.fits) context.exit_code = kExitDoesNotFit;
  });
}

}  // namespace thimble::cli
