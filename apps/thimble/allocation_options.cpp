#include "allocation_options.h"

#include <algorithm>
#include <optional>

#include "base/cpu.h"
#include "base/error.h"
#include "calibrate/calibration.h"
#include "device/profile.h"
#include "number_range.h"
#include "tasks/calibration_samples.h"
#include "text/tokenizer.h"

namespace thimble::cli {

namespace {

// Long enough that attention sees real context, short enough that several texts fit a few thousand tokens.
constexpr int64_t kSequenceTokens = 512;
// Log probabilities of the float model are kept for every scored position: 512 MiB of them at most.
constexpr int64_t kMaxKeptLogits = int64_t{1} << 27;

SizeTarget target_of(const AllocationOptions& options) {
  const int n = !options.target_size.empty() + (options.target_bpw > 0) + (options.target_body_bpw > 0);
  if (n != 1) {
    fail(ErrorCode::invalid_argument, "quantize: expected one of --target-size, --target-bpw and --target-body-bpw");
  }
  if (!options.target_size.empty()) return parse_target_size(options.target_size);
  if (options.target_bpw > 0) return {SizeTarget::Measure::bits_per_weight, options.target_bpw};
  return {SizeTarget::Measure::body_bits_per_weight, options.target_body_bpw};
}

AllocationTypes types_of(const AllocationOptions& options) {
  AllocationTypes out;
  for (const std::string& name : options.types) {
    const TypeTraits* type = find_type(std::string_view(name));
    if (type == nullptr || type->encode == nullptr) {
      fail(ErrorCode::invalid_argument, "--types: found '{}', expected types of weights such as q4_k", name);
    }
    out.candidates.push_back(type->type);
  }
  if (!options.device.empty()) out.fast = read_device_profile(options.device).fast_types;
  return out;
}

std::vector<std::vector<int32_t>> sequences_of(const AllocationOptions& options, const GgufFile& input,
                                               const Task& task) {
  if (options.data.empty()) {
    fail(ErrorCode::invalid_argument, "quantize: --data FILES|TASKS is needed to measure sensitivities");
  }
  std::vector<SampleSource> sources;
  for (const std::string& text : options.data) sources.push_back(parse_sample_source(text));
  SampleSettings settings;
  settings.n_context = std::min(kSequenceTokens, read_model_config(input).n_ctx_train);
  // Task items are shorter than a piece of text: more are asked for, and taken until the tokens are there.
  settings.n_samples = std::max<int64_t>(1, 8 * options.n_tokens / settings.n_context);
  const auto chat_template = [&] { return detect_chat_template(input); };
  auto samples = make_calibration_samples(Tokenizer(input), chat_template, sources, settings, task);
  std::vector<std::vector<int32_t>> out;
  int64_t n_tokens = 0;
  for (std::vector<int32_t>& tokens : samples.sequences) {
    if (tokens.size() < 2) continue;  // nothing to score
    if (n_tokens >= options.n_tokens) break;
    n_tokens += static_cast<int64_t>(tokens.size());
    out.push_back(std::move(tokens));
  }
  return out;
}

int64_t spacing(const std::vector<std::vector<int32_t>>& sequences, const ModelConfig& config) {
  int64_t scored = 0;
  for (const std::vector<int32_t>& s : sequences) scored += static_cast<int64_t>(s.size() - s.size() / 2);
  const int64_t room = std::max<int64_t>(1, kMaxKeptLogits / config.n_vocab);
  return (scored + room - 1) / room;
}

}  // namespace

void add_allocation_flags(CLI::App& verb, AllocationOptions& options) {
  const CLI::Validator bits_per_weight = number_range(0.1, 32.0);
  verb.add_option("--target-size", options.target_size,
                  "size the file may have (bytes, or 3.6GB, 900MiB ...): types are allocated by measured sensitivity")
      ->group("Allocation");
  verb.add_option("--target-bpw", options.target_bpw, "as --target-size, in bits per weight of all tensors")
      ->check(bits_per_weight)
      ->group("Allocation");
  verb.add_option("--target-body-bpw", options.target_body_bpw,
                  "as --target-bpw without embedding and head, which keep the scheme's types")
      ->check(bits_per_weight)
      ->group("Allocation");
  verb.add_option("--device", options.device, "profile (devices/*.toml): only types that are fast there")
      ->group("Allocation");
  verb.add_option("--types", options.types, "types to choose between, such as q4_k,q6_k; default: 3 to 8.5 bits")
      ->delimiter(',')
      ->group("Allocation");
  verb.add_option("--sensitivity", options.sensitivity, "file that keeps measured sensitivities; resumes a killed run")
      ->group("Allocation");
  verb.add_option("--data", options.data, "texts or task folders to measure sensitivities on, as for calibrate")
      ->group("Allocation");
  verb.add_option("--sensitivity-tokens", options.n_tokens,
                  "about how many tokens of them (samples of up to 512), default 4096")
      ->check(CLI::PositiveNumber)
      ->group("Allocation");
  verb.add_flag(
          "--quick", options.quick,
          "measure one type of each tensor, the others follow from rounding errors: as many times faster as there "
          "are types")
      ->group("Allocation");
}

AllocationReport allocate_types(const AllocationOptions& options, const GgufFile& input, const Recipe& base,
                                const AllocationPipeline& pipeline, const Context& context, ThreadPool& pool) {
  const SizeTarget target = target_of(options);
  const auto tensors = allocatable_tensors(input, base, target, types_of(options));
  {  // a target that cannot be reached is an error now, not after hours of measuring
    std::vector<TypeLoss> none;
    for (const AllocatableTensor& tensor : tensors) {
      for (const TensorType type : tensor.types) none.push_back({tensor.name, type, 0});
    }
    plan_allocation(input, base, tensors, none, target, pipeline.plan);
  }
  const Task task = context.task();
  std::optional<Journal> cache;
  SensitivitySettings settings;
  settings.sequences = sequences_of(options, input, task);
  settings.score_every = spacing(settings.sequences, read_model_config(input));
  settings.importance = pipeline.importance;
  settings.model_key = calibration_model_key(input);
  settings.rounding_key = pipeline.rounding_key;
  if (!options.sensitivity.empty()) settings.cache = &cache.emplace(options.sensitivity);
  SensitivityMeter meter(input, kernels::best_isa(host_cpu()), std::move(settings), pipeline.round, pool, task);
  const auto effort = options.quick ? SensitivityEffort::one_type : SensitivityEffort::every_type;
  const std::vector<TypeLoss> losses = measure_sensitivity(meter, tensors, effort, task);
  AllocationReport report;
  report.plan = plan_allocation(input, base, tensors, losses, target, pipeline.plan);
  report.n_scored = meter.n_scored();
  std::vector<std::pair<std::string, TensorType>> changes;
  for (const QuantizedTensor& t : report.plan.sizes.tensors) {
    if (t.to != t.from) changes.emplace_back(t.name, t.to);
  }
  report.measured = meter.measure_together(changes);
  return report;
}

}  // namespace thimble::cli
