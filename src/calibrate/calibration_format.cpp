#include "calibrate/calibration_format.h"

#include <limits>

#include "base/error.h"
#include "ops/ops.h"

namespace thimble {

namespace {

void check_input(const CalibrationInputPlan& input) {
  if (input.n_in < 1 || input.n_in > kMaxCalibrationColumns || input.n_experts < 1 ||
      input.n_experts > kMaxCalibrationColumns) {
    fail(ErrorCode::invalid_argument, "calibration input {}: found {} x {} columns, expected 1 to {}", input.name,
         input.n_experts, input.n_in, kMaxCalibrationColumns);
  }
  if (input.n_tokens < 0 || input.n_tokens > std::numeric_limits<int32_t>::max()) {
    fail(ErrorCode::invalid_argument, "calibration input {}: found {} tokens, expected at most {}", input.name,
         input.n_tokens, std::numeric_limits<int32_t>::max());
  }
}

}  // namespace

CalibrationLayout plan_calibration(const CalibrationInfo& info, const std::string& run_key, int64_t n_vocab,
                                   const std::vector<CalibrationInputPlan>& inputs) {
  CalibrationLayout layout;
  GgufMetadata& m = layout.metadata;
  m.set_string("general.type", kCalibrationKind);
  m.set_uint32(kKeyVersion, kCalibrationVersion);
  m.set_string(kKeyModelKey, info.model_key);
  m.set_string(kKeyModelName, info.model_name);
  m.set_string(kKeyRunKey, run_key);
  m.set_string(kKeyData, info.data);
  m.set_uint64(kKeySequences, static_cast<uint64_t>(info.n_sequences));
  m.set_uint64(kKeyHeldout, static_cast<uint64_t>(info.n_heldout_sequences));
  m.set_uint64(kKeyTokens, static_cast<uint64_t>(info.n_tokens));
  m.set_uint64(kKeyContext, static_cast<uint64_t>(info.n_context));
  const auto add = [&](std::string name, uint32_t n_dims, int64_t ne0, int64_t ne1) {
    layout.tensors.push_back({std::move(name), TensorType::f32, n_dims, {ne0, ne1, 1, 1}});
  };
  if (n_vocab > 0) add(std::string(kTokenCountsName), 1, n_vocab, 1);
  std::vector<std::string> names, weights;
  std::vector<int32_t> tokens, owners;
  for (const CalibrationInputPlan& input : inputs) {
    check_input(input);
    for (const std::string& weight : input.weights) {
      weights.push_back(weight);
      owners.push_back(static_cast<int32_t>(names.size()));
    }
    names.push_back(input.name);
    tokens.push_back(static_cast<int32_t>(input.n_tokens));
    const auto tensor = [&](std::string_view suffix) { return input.name + std::string(suffix); };
    if (input.has_abs) add(tensor(kMeanAbs), 1, input.n_in, 1);
    add(tensor(kMeanSquare), input.n_experts > 1 ? 2 : 1, input.n_in, input.n_experts);
    if (input.has_abs) add(tensor(kMaxAbs), 1, input.n_in, 1);
    if (input.has_second_moment) add(tensor(kSecondMoment), 1, ops::triangle_size(input.n_in), 1);
    if (input.n_heldout_rows > 0) add(tensor(kHeldoutRows), 2, input.n_in, input.n_heldout_rows);
  }
  m.set_strings(kKeyInputs, names);
  m.set_int32s(kKeyInputTokens, tokens);
  m.set_strings(kKeyWeights, weights);
  m.set_int32s(kKeyWeightInputs, owners);
  return layout;
}

std::string calibration_run_key(const std::string& path) {
  try {
    const GgufFile file = GgufFile::open(path);
    if (file.get_string("general.type", "") != kCalibrationKind) return {};
    return std::string(file.get_string(kKeyRunKey, ""));
  } catch (const Error&) {
    return {};  // something else: it will be replaced as any output is
  }
}

}  // namespace thimble
