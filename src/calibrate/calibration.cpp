// Reading a calibration, and building one in memory: the latter writes the same image and reads it.
#include "calibrate/calibration.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "calibrate/calibration_format.h"
#include "ops/ops.h"

namespace thimble {

namespace {

constexpr int64_t kAtMost = int64_t{1} << 40;  // of counts in metadata

bool all_finite(std::span<const float> values) noexcept {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

bool is_moment(std::span<const float> values) noexcept {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v) && v >= 0.0f; });
}

// Tensor data starts at multiples of 32 of a mapping or of an AlignedBuffer.
std::span<const float> floats_of(const TensorView& view) noexcept {
  return {reinterpret_cast<const float*>(view.data.data()), view.data.size() / sizeof(float)};
}

}  // namespace

struct Calibration::State {
  struct Input {
    std::string name;
    InputStatistics statistics;
    std::span<const float> triangle;  // empty: none
    HeldOut heldout;
  };

  AlignedBuffer<std::byte> image;  // of from_entries
  GgufFile gguf;
  CalibrationInfo info;
  std::vector<Input> inputs;
  std::map<std::string, size_t, std::less<>> by_name;  // inputs and matrices
  std::vector<std::pair<std::string, size_t>> weights;
  std::span<const float> token_counts;

  const Input* find(std::string_view name) const noexcept {
    const auto found = by_name.find(name);
    return found == by_name.end() ? nullptr : &inputs[found->second];
  }

  // Null when it is missing.
  const GgufTensor* tensor(const std::string& name, int64_t n_cols, int64_t n_rows) const {
    const GgufTensor* const found = gguf.find_tensor(name);
    if (found == nullptr) return nullptr;
    const TensorView& view = found->view;
    if (view.type != TensorType::f32) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found {}, expected f32", gguf.source(), name, traits(view.type).name);
    }
    if ((n_cols > 0 && view.ne[0] != n_cols) || (n_rows > 0 && view.n_rows() != n_rows)) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found [{}, {}], expected [{}, {}]", gguf.source(), name, view.n_rows(),
           view.ne[0], n_rows, n_cols);
    }
    return found;
  }

  std::vector<float> channels(const std::string& name, int64_t n_cols, int64_t n_rows) const {
    const GgufTensor* const found = tensor(name, n_cols, n_rows);
    if (found == nullptr) return {};
    const std::span<const float> values = floats_of(found->view);
    if (!is_moment(values)) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found a negative number, NaN or infinity, expected moments",
           gguf.source(), name);
    }
    return {values.begin(), values.end()};
  }

  void read_info() {
    const std::string_view kind = gguf.get_string("general.type", "");
    if (kind != kCalibrationKind) {
      const bool imatrix = kind == "imatrix" || gguf.find("imatrix.chunk_count") != nullptr;
      fail(ErrorCode::invalid_argument, "{}: found {}, expected a calibration made by thimble calibrate", gguf.source(),
           imatrix ? "an importance matrix of llama.cpp (--imatrix reads it)" : "a GGUF of another kind");
    }
    const uint64_t version = gguf.get_uint(kKeyVersion, 1, UINT32_MAX);
    if (version != kCalibrationVersion) {
      fail(ErrorCode::unsupported, "{}: key '{}': found {}, expected {}", gguf.source(), kKeyVersion, version,
           kCalibrationVersion);
    }
    const auto count = [&](std::string_view key) { return static_cast<int64_t>(gguf.get_uint(key, 0, kAtMost)); };
    info.model_key = gguf.get_string(kKeyModelKey);
    info.model_name = gguf.get_string(kKeyModelName);
    info.data = gguf.get_string(kKeyData, "");
    info.n_sequences = count(kKeySequences);
    info.n_heldout_sequences = count(kKeyHeldout);
    info.n_tokens = count(kKeyTokens);
    info.n_context = count(kKeyContext);
  }

  Input read_input(std::string name, int64_t n_tokens) const {
    Input input;
    const auto tensor_name = [&](std::string_view suffix) { return name + std::string(suffix); };
    const GgufTensor* const squares = tensor(tensor_name(kMeanSquare), 0, 0);
    if (squares == nullptr) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': not found, expected the statistics of input '{}'", gguf.source(),
           tensor_name(kMeanSquare), name);
    }
    const int64_t n_in = squares->view.ne[0];
    if (n_in > kMaxCalibrationColumns) {  // beyond, sizes of triangles could pass 2^63
      fail(ErrorCode::corrupt, "{}: tensor '{}': found {} columns, expected at most {}", gguf.source(),
           tensor_name(kMeanSquare), n_in, kMaxCalibrationColumns);
    }
    const int64_t n_rows = squares->view.n_rows();
    input.statistics.n_in = n_in;
    input.statistics.n_tokens = n_tokens;
    input.statistics.mean_square = channels(tensor_name(kMeanSquare), n_in, n_rows);
    input.statistics.mean_abs = channels(tensor_name(kMeanAbs), n_in, 1);
    input.statistics.max_abs = channels(tensor_name(kMaxAbs), n_in, 1);
    if (const GgufTensor* h = tensor(tensor_name(kSecondMoment), ops::triangle_size(n_in), 1); h != nullptr) {
      input.triangle = floats_of(h->view);
    }
    if (const GgufTensor* rows = tensor(tensor_name(kHeldoutRows), n_in, 0); rows != nullptr) {
      input.heldout = {rows->view.n_rows(), n_in, floats_of(rows->view).data()};
    }
    input.name = std::move(name);
    return input;
  }

  void add_name(std::string name, size_t index) {
    if (!by_name.emplace(name, index).second) {
      fail(ErrorCode::corrupt, "{}: found '{}' twice among inputs and matrices", gguf.source(), name);
    }
  }

  void read_inputs() {
    const std::vector<std::string_view>* const names = gguf.get_strings(kKeyInputs);
    const auto tokens = gguf.get_ints(kKeyInputTokens);
    const std::vector<std::string_view>* const matrices = gguf.get_strings(kKeyWeights);
    const auto owners = gguf.get_ints(kKeyWeightInputs);
    if (names == nullptr || !tokens || matrices == nullptr || !owners || tokens->size() != names->size() ||
        owners->size() != matrices->size()) {
      fail(ErrorCode::corrupt, "{}: keys '{}', '{}', '{}' and '{}': found lists that do not belong together",
           gguf.source(), kKeyInputs, kKeyInputTokens, kKeyWeights, kKeyWeightInputs);
    }
    for (size_t i = 0; i < names->size(); ++i) {
      if ((*tokens)[i] < 0) {
        fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected a count", gguf.source(), kKeyInputTokens,
             (*tokens)[i]);
      }
      add_name(std::string((*names)[i]), i);
      inputs.push_back(read_input(std::string((*names)[i]), (*tokens)[i]));
    }
    for (size_t i = 0; i < matrices->size(); ++i) {
      const int64_t owner = (*owners)[i];
      if (owner < 0 || owner >= static_cast<int64_t>(inputs.size())) {
        fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected the number of one of {} inputs", gguf.source(),
             kKeyWeightInputs, owner, inputs.size());
      }
      add_name(std::string((*matrices)[i]), static_cast<size_t>(owner));
      weights.emplace_back((*matrices)[i], static_cast<size_t>(owner));
    }
  }

  void read() {
    read_info();
    read_inputs();
    const GgufTensor* const counts = tensor(std::string(kTokenCountsName), 0, 1);
    if (counts == nullptr) return;
    token_counts = floats_of(counts->view);
    if (!is_moment(token_counts)) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found a negative number, NaN or infinity, expected counts",
           gguf.source(), kTokenCountsName);
    }
  }
};

Calibration::Calibration(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Calibration::Calibration(Calibration&&) noexcept = default;
Calibration& Calibration::operator=(Calibration&&) noexcept = default;
Calibration::~Calibration() = default;

Calibration Calibration::open(const std::string& path) {
  return from_gguf(GgufFile::open(path));
}

Calibration Calibration::from_gguf(GgufFile gguf) {
  auto state = std::make_unique<State>();
  state->gguf = std::move(gguf);
  state->read();
  return Calibration(std::move(state));
}

namespace {

void check_size(const CalibrationEntry& entry, std::string_view what, size_t found, size_t expected) {
  if (found == expected) return;
  fail(ErrorCode::invalid_argument, "calibration input {}: {}: found {} values, expected {}", entry.name, what, found,
       expected);
}

CalibrationInputPlan plan_entry(const CalibrationEntry& entry) {
  const InputStatistics& s = entry.statistics;
  CalibrationInputPlan plan;
  plan.name = entry.name;
  plan.weights = entry.weights;
  plan.n_in = s.n_in;
  plan.n_tokens = s.n_tokens;
  const auto n = static_cast<size_t>(std::max<int64_t>(s.n_in, 1));
  plan.n_experts = static_cast<int64_t>(std::max<size_t>(s.mean_square.size() / n, 1));
  check_size(entry, "mean_square", s.mean_square.size(), n * static_cast<size_t>(plan.n_experts));
  plan.has_abs = !s.mean_abs.empty() || !s.max_abs.empty();
  if (plan.has_abs) {
    check_size(entry, "mean_abs", s.mean_abs.size(), n);
    check_size(entry, "max_abs", s.max_abs.size(), n);
  }
  plan.has_second_moment = !entry.second_moment.empty();
  if (plan.has_second_moment) check_size(entry, "second_moment", entry.second_moment.size(), n * n);
  plan.n_heldout_rows = static_cast<int64_t>(entry.heldout.size() / n);
  check_size(entry, "heldout", entry.heldout.size(), n * static_cast<size_t>(plan.n_heldout_rows));
  if (!all_finite(entry.second_moment) || !all_finite(entry.heldout) || !is_moment(s.mean_square) ||
      !is_moment(s.mean_abs) || !is_moment(s.max_abs)) {
    fail(ErrorCode::invalid_argument, "calibration input {}: found numbers that are not finite or negative moments",
         entry.name);
  }
  return plan;
}

// Data of an entry in the order of plan_calibration().
std::vector<std::span<const float>> data_of(const CalibrationEntry& entry, const std::vector<float>& triangle) {
  const InputStatistics& s = entry.statistics;
  std::vector<std::span<const float>> data;
  for (const std::vector<float>* part : {&s.mean_abs, &s.mean_square, &s.max_abs, &triangle, &entry.heldout}) {
    if (!part->empty()) data.emplace_back(*part);
  }
  return data;
}

std::vector<float> upper_triangle(const std::vector<float>& full, int64_t n) {
  std::vector<float> triangle;
  if (full.empty()) return triangle;
  triangle.reserve(static_cast<size_t>(ops::triangle_size(n)));
  for (int64_t i = 0; i < n; ++i) {
    triangle.insert(triangle.end(), full.begin() + i * n + i, full.begin() + (i + 1) * n);
  }
  return triangle;
}

}  // namespace

Calibration Calibration::from_entries(const CalibrationInfo& info, std::span<const CalibrationEntry> entries,
                                      std::span<const float> token_counts) {
  std::vector<CalibrationInputPlan> inputs;
  for (const CalibrationEntry& entry : entries) inputs.push_back(plan_entry(entry));
  const CalibrationLayout layout = plan_calibration(info, {}, static_cast<int64_t>(token_counts.size()), inputs);
  const std::vector<std::byte> header = gguf_header(layout.metadata, layout.tensors);
  auto state = std::make_unique<State>();
  state->image = AlignedBuffer<std::byte>(gguf_file_bytes(layout.metadata, layout.tensors));
  std::byte* at = state->image.data();
  std::memcpy(at, header.data(), header.size());
  at += header.size();
  const auto put = [&](std::span<const float> values) {
    std::memcpy(at, values.data(), values.size_bytes());
    at += (values.size_bytes() + kGgufDefaultAlignment - 1) / kGgufDefaultAlignment * kGgufDefaultAlignment;
  };
  if (!token_counts.empty()) put(token_counts);
  for (const CalibrationEntry& entry : entries) {
    const std::vector<float> triangle = upper_triangle(entry.second_moment, entry.statistics.n_in);
    for (const std::span<const float> part : data_of(entry, triangle)) put(part);
  }
  state->gguf = GgufFile::parse({state->image.data(), state->image.size()},
                                info.model_name.empty() ? "calibration" : "calibration of " + info.model_name);
  state->read();
  return Calibration(std::move(state));
}

const std::string& Calibration::source() const noexcept {
  return state_->gguf.source();
}

const CalibrationInfo& Calibration::info() const noexcept {
  return state_->info;
}

void Calibration::require_model(const GgufFile& model) const {
  for (const auto& [name, index] : state_->weights) {
    const GgufTensor* const tensor = model.find_tensor(name);
    const int64_t n_in = state_->inputs[index].statistics.n_in;
    if (tensor != nullptr && tensor->view.ne[0] == n_in) continue;
    fail(ErrorCode::invalid_argument,
         "{}: it was made from another model ('{}') than {}: tensor '{}': found {}, expected {} columns", source(),
         info().model_name, model.source(), name, tensor == nullptr ? "none" : fmt::format("{}", tensor->view.ne[0]),
         n_in);
  }
  if (info().model_key.empty() || info().model_key == calibration_model_key(model)) return;
  fail(ErrorCode::invalid_argument,
       "{}: it was made from another model ('{}') than {}: shapes agree, weights or their types do not; calibrate this "
       "file",
       source(), info().model_name, model.source());
}

std::vector<std::string> Calibration::inputs() const {
  std::vector<std::string> names;
  for (const State::Input& input : state_->inputs) names.push_back(input.name);
  return names;
}

std::string_view Calibration::input_of(std::string_view weight_name) const noexcept {
  const State::Input* const input = state_->find(weight_name);
  return input == nullptr ? std::string_view() : std::string_view(input->name);
}

const InputStatistics* Calibration::find(std::string_view weight_name) const noexcept {
  const State::Input* const input = state_->find(weight_name);
  return input == nullptr ? nullptr : &input->statistics;
}

bool Calibration::has_second_moment(std::string_view weight_name) const noexcept {
  const State::Input* const input = state_->find(weight_name);
  return input != nullptr && !input->triangle.empty();
}

bool Calibration::has_second_moments() const noexcept {
  return std::any_of(state_->inputs.begin(), state_->inputs.end(),
                     [](const State::Input& input) { return !input.triangle.empty(); });
}

SecondMoment Calibration::second_moment(std::string_view weight_name) const {
  const State::Input* const input = state_->find(weight_name);
  if (input == nullptr || input->triangle.empty()) {
    fail(ErrorCode::not_found, "{}: no second moments of the input of '{}'", source(), weight_name);
  }
  const int64_t n = input->statistics.n_in;
  SecondMoment h;
  h.n_in = n;
  h.n_tokens = input->statistics.n_tokens;
  try {
    h.values.resize(static_cast<size_t>(n) * static_cast<size_t>(n));
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::resource_exhausted, "{}: input '{}': could not get memory for {} x {} second moments", source(),
         input->name, n, n);
  }
  for (int64_t i = 0; i < n; ++i) {
    const std::span<const float> row =
        input->triangle.subspan(static_cast<size_t>(ops::triangle_row(n, i)), static_cast<size_t>(n - i));
    if (!all_finite(row) || row[0] < 0.0f) {
      fail(ErrorCode::corrupt, "{}: tensor '{}{}': row {}: found NaN, infinity or a negative diagonal", source(),
           input->name, kSecondMoment, i);
    }
    std::memcpy(h.values.data() + i * n + i, row.data(), row.size_bytes());
  }
  constexpr int64_t kBlock = 64;  // the mirror image is written in squares that the first cache holds
  for (int64_t rows = 0; rows < n; rows += kBlock) {
    for (int64_t columns = 0; columns <= rows; columns += kBlock) {
      for (int64_t i = rows; i < std::min(rows + kBlock, n); ++i) {
        for (int64_t j = columns; j < std::min(columns + kBlock, i); ++j) {
          h.values[static_cast<size_t>(i * n + j)] = h.values[static_cast<size_t>(j * n + i)];
        }
      }
    }
  }
  return h;
}

HeldOut Calibration::heldout(std::string_view weight_name) const {
  const State::Input* const input = state_->find(weight_name);
  if (input == nullptr || input->heldout.n_rows == 0) return {};
  const HeldOut& h = input->heldout;
  if (!all_finite({h.rows, static_cast<size_t>(h.n_rows) * static_cast<size_t>(h.n_in)})) {
    fail(ErrorCode::corrupt, "{}: tensor '{}{}': found NaN or infinity", source(), input->name, kHeldoutRows);
  }
  return h;
}

std::span<const float> Calibration::token_counts() const noexcept {
  return state_->token_counts;
}

Importance Calibration::importance() const {
  Importance importance;
  for (const auto& [name, index] : state_->weights) importance[name] = state_->inputs[index].statistics.mean_square;
  return importance;
}

void Calibration::release(std::string_view weight_name) const noexcept {
  const State::Input* const input = state_->find(weight_name);
  if (input == nullptr || state_->image.size() > 0) return;
  state_->gguf.release(std::as_bytes(input->triangle));
  const size_t n_heldout = static_cast<size_t>(input->heldout.n_rows) * static_cast<size_t>(input->heldout.n_in);
  state_->gguf.release(std::as_bytes(std::span(input->heldout.rows, n_heldout)));
}

}  // namespace thimble
