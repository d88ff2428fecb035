#include "allocation_options.h"

#include <algorithm>
#include <optional>

#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "calibrate/calibration.h"
#include "device/profile.h"
#include "text/tokenizer.h"

namespace thimble::cli {

namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;
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

// Sequences at even distances over all texts, so that a few thousand tokens see something of each.
std::vector<std::vector<int32_t>> sequences_of(const AllocationOptions& options, const GgufFile& input) {
  if (options.data.empty()) {
    fail(ErrorCode::invalid_argument, "quantize: --data FILE is needed to measure sensitivities");
  }
  const Tokenizer tokenizer(input);
  const int64_t n_ctx = std::min(kSequenceTokens, read_model_config(input).n_ctx_train);
  std::vector<std::vector<int32_t>> all;
  for (const std::string& path : options.data) {
    const auto tokens = tokenizer.encode_prompt(read_file(path, kMaxTextBytes), SpecialTokens::as_text);
    for (size_t at = 0; at + static_cast<size_t>(n_ctx) <= tokens.size(); at += static_cast<size_t>(n_ctx)) {
      const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(at);
      all.emplace_back(begin, begin + n_ctx);
      if (tokenizer.adds_bos()) all.back().front() = tokenizer.bos();
    }
  }
  const auto wanted = static_cast<size_t>(std::max<int64_t>(1, options.n_tokens / n_ctx));
  if (all.empty()) {
    fail(ErrorCode::invalid_argument, "{}: found fewer than {} tokens, expected at least one sequence of them",
         options.data.front(), n_ctx);
  }
  std::vector<std::vector<int32_t>> out;
  const size_t n = std::min(wanted, all.size());
  for (size_t i = 0; i < n; ++i) out.push_back(std::move(all[i * all.size() / n]));
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
  verb.add_option("--target-size", options.target_size,
                  "size the file may have (bytes, or 3.6GB, 900MiB ...): types are allocated by measured sensitivity")
      ->group("Allocation");
  verb.add_option("--target-bpw", options.target_bpw, "as --target-size, in bits per weight of all tensors")
      ->check(CLI::PositiveNumber)
      ->group("Allocation");
  verb.add_option("--target-body-bpw", options.target_body_bpw,
                  "as --target-bpw without embedding and head, which keep the scheme's types")
      ->check(CLI::PositiveNumber)
      ->group("Allocation");
  verb.add_option("--device", options.device, "profile (devices/*.toml): only types that are fast there")
      ->group("Allocation");
  verb.add_option("--types", options.types, "types to choose between, such as q4_k,q6_k; default: 3 to 8.5 bits")
      ->delimiter(',')
      ->group("Allocation");
  verb.add_option("--sensitivity", options.sensitivity, "file that keeps measured sensitivities; resumes a killed run")
      ->group("Allocation");
  verb.add_option("--data", options.data, "texts to measure sensitivities on")->group("Allocation");
  verb.add_option("--sensitivity-tokens", options.n_tokens, "tokens of them to measure on, default 4096")
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
  settings.sequences = sequences_of(options, input);
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
