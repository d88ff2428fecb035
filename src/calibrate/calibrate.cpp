// The run: embeddings of all tokens, then layer after layer over the residual stream in the work files, then the input
// of the head. A stage's part of the output is written when the stage is done.
#include "calibrate/calibrate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/cpu.h"
#include "base/error.h"
#include "calibrate/calibration_plan.h"
#include "calibrate/input_moments.h"
#include "calibrate/work_folder.h"
#include "model/memory_limit.h"
#include "model/model.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

// Which input of a stage a tap belongs to: stages list their inputs in this order.
size_t input_index(MatmulInput which) noexcept {
  return which == MatmulInput::output ? 0 : static_cast<size_t>(which);
}

ModelConfig one_layer(ModelConfig config) {
  config.n_layer = 1;
  return config;
}

// What is gathered of one input.
struct Collected {
  InputMoments moments;
  std::vector<float> heldout;  // [n_heldout_rows, n_in]
  bool heldout_finite = true;
};

class CalibrationRun {
 public:
  CalibrationRun(const GgufFile& gguf, const Model& model, const CalibrationPlan& plan,
                 const CalibrationSettings& settings, WorkFolder& work, ThreadPool& pool, const Task& task)
      : gguf_(gguf),
        model_(model),
        plan_(plan),
        settings_(settings),
        work_(work),
        task_(task),
        backend_(ops::make_backend(pool, model.isa())),
        forward_(model, pool, plan.max_batch, plan.longest),
        cache_(one_layer(model.config()), ops::KvType::f16, plan.longest),
        scratch_(backend_, plan.max_batch, widest()),
        x_(static_cast<size_t>(plan.max_batch * model.config().n_embd)) {}

  // Stage 0 embeds; stage 1 + i is layer i; the last one is the head.
  void run() {
    const auto n_layer = static_cast<int64_t>(plan_.stages.size()) - 1;
    if (work_.stages_done() == 0) embed();
    for (int64_t layer = work_.stages_done() - 1; layer <= n_layer; ++layer) run_stage(layer, layer == n_layer);
  }

 private:
  int64_t widest() const {
    const ModelConfig& c = model_.config();
    return std::max({c.n_embd, c.n_embd_q(), c.n_ff});
  }

  void append(std::span<const float> values) { work_.append(std::as_bytes(values)); }

  // Zeros up to the start of the next tensor.
  void end_tensor() {
    constexpr std::byte kZeros[kGgufDefaultAlignment] = {};
    const uint64_t past = work_.bytes() % kGgufDefaultAlignment;
    if (past > 0) work_.append(std::span(kZeros).first(kGgufDefaultAlignment - past));
  }

  void embed() {
    work_.append(gguf_header(plan_.layout.metadata, plan_.layout.tensors));
    append(plan_.token_counts);
    end_tensor();
    for (const CalibrationBatch& batch : plan_.batches) {
      task_.check("calibrate");
      forward_.embed(
          std::span(plan_.tokens).subspan(static_cast<size_t>(batch.first_token), static_cast<size_t>(batch.n_tokens)),
          x_.data());
      work_.write_stream(stream_offset(batch), stream(batch));
    }
    gguf_.release(model_.token_embedding().data);
    work_.finish_stage();
  }

  uint64_t stream_offset(const CalibrationBatch& batch) const {
    return static_cast<uint64_t>(batch.first_token) * static_cast<uint64_t>(model_.config().n_embd);
  }
  std::span<float> stream(const CalibrationBatch& batch) {
    return {x_.data(), static_cast<size_t>(batch.n_tokens * model_.config().n_embd)};
  }

  void run_stage(int64_t layer, bool head) {
    std::vector<Collected> inputs;
    for (const CalibrationInputPlan& input : plan_.stages[static_cast<size_t>(layer)]) {
      inputs.push_back({InputMoments(input.n_in, settings_.second_moments),
                        std::vector<float>(static_cast<size_t>(input.n_heldout_rows * input.n_in))});
    }
    const std::string label =
        head ? "calibrating the head" : fmt::format("calibrating layer {} of {}", layer + 1, plan_.stages.size() - 1);
    const auto total = static_cast<uint64_t>(plan_.tokens.size());
    for (const CalibrationBatch& batch : plan_.batches) {
      task_.check("calibrate");
      task_.report(static_cast<uint64_t>(layer) * total + static_cast<uint64_t>(batch.first_token),
                   plan_.stages.size() * total, label);
      work_.read_stream(stream_offset(batch), stream(batch));
      const auto tap = [&](MatmulInput which, const float* x, int64_t n_tokens, int64_t) {
        collect(&inputs[input_index(which)], batch, x, n_tokens);
      };
      if (head) {
        forward_.show_output_input(x_.data(), batch.n_tokens, tap);
      } else {
        forward_.run_layer(layer, batch.lengths, x_.data(), cache_, tap);
        work_.write_stream(stream_offset(batch), stream(batch));
      }
      check_finite(layer, inputs);
    }
    for (const Collected& input : inputs) write(input);
    if (!head) release_layer(layer);
    work_.finish_stage();
  }

  // Called inside the forward pass: must not throw.
  void collect(Collected* input, const CalibrationBatch& batch, const float* x, int64_t n_tokens) noexcept {
    if (!batch.heldout) {
      input->moments.add(backend_, x, n_tokens, scratch_);
      return;
    }
    const int64_t n_in = input->moments.n_in();
    for (int64_t row = 0; row < plan_.n_heldout_rows; ++row) {
      const int64_t token = plan_.heldout_token(row) - batch.first_token;
      if (token < 0 || token >= n_tokens) continue;
      const float* const from = x + token * n_in;
      std::copy(from, from + n_in, input->heldout.begin() + row * n_in);
      for (int64_t i = 0; i < n_in; ++i) input->heldout_finite &= std::isfinite(from[i]);
    }
  }

  void check_finite(int64_t layer, const std::vector<Collected>& inputs) const {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].moments.finite() && inputs[i].heldout_finite) continue;
      fail(ErrorCode::corrupt,
           "{}: input '{}': found activations that are NaN, infinite or too large to square; the "
           "weights of the layers up to this one are not those of a working model",
           gguf_.source(), plan_.stages[static_cast<size_t>(layer)][i].name);
    }
  }

  // In the order of plan_calibration().
  void write(const Collected& input) {
    for (const std::vector<float>& values :
         {input.moments.mean_abs(), input.moments.mean_square(), input.moments.max_abs()}) {
      append(values);
      end_tensor();
    }
    input.moments.write_triangle([&](std::span<const float> piece) { append(piece); });
    end_tensor();
    append(input.heldout);
    end_tensor();
  }

  void release_layer(int64_t layer) const {
    const std::string prefix = fmt::format("blk.{}.", layer);
    for (const GgufTensor& tensor : gguf_.tensors()) {
      if (tensor.name.starts_with(prefix)) gguf_.release(tensor.view.data);
    }
  }

  const GgufFile& gguf_;
  const Model& model_;
  const CalibrationPlan& plan_;
  const CalibrationSettings& settings_;
  WorkFolder& work_;
  const Task& task_;
  ops::Backend backend_;
  ForwardPass forward_;
  KvCache cache_;
  MomentScratch scratch_;
  AlignedBuffer<float> x_;  // [max_batch, n_embd]
};

// The residual stream as files beside the moments in memory: only the latter must fit.
void check_memory_of(const ModelConfig& config, const CalibrationSettings& settings) {
  uint64_t bytes = 0;
  for (const int64_t n : {config.n_embd, config.n_embd_q(), config.n_embd, config.n_ff}) {
    const auto width = static_cast<uint64_t>(n);
    bytes += settings.second_moments ? width * (width + 1) / 2 * sizeof(double) : width * sizeof(double);
  }
  check_memory(bytes, "second moments of one layer");
}

void check_output(const GgufFile& model, const std::string& output_path) {
  for (const std::string& path : model.paths()) {
    std::error_code ignored;
    if (fs::equivalent(path, output_path, ignored)) {
      fail(ErrorCode::invalid_argument, "{}: is the model, expected another file name for the calibration",
           output_path);
    }
  }
  std::error_code ignored;
  const fs::file_status status = fs::status(output_path, ignored);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    fail(ErrorCode::io, "{}: found a folder or a special file, expected a file name", output_path);
  }
}

CalibrationResult describe(const CalibrationPlan& plan, const CalibrationSettings& settings, const Task& task) {
  CalibrationResult result;
  result.info = plan.info;
  result.file_bytes = gguf_file_bytes(plan.layout.metadata, plan.layout.tensors);
  result.untouched_rows = std::count(plan.token_counts.begin(), plan.token_counts.end(), 0.0f);
  for (const auto& stage : plan.stages) {
    for (const CalibrationInputPlan& input : stage) {
      ++result.n_inputs;
      if (settings.second_moments && input.n_tokens < input.n_in) result.singular.push_back(input.name);
    }
  }
  if (!result.singular.empty()) {
    task.say(LogLevel::warning,
             "{} tokens are fewer than the columns of {} of {} inputs ({}, ...): their second moments have no inverse "
             "and methods that need one will damp them; 8 tokens per column are a good measure",
             plan.info.n_tokens, result.singular.size(), result.n_inputs, result.singular.front());
  }
  if (settings.n_heldout_rows > 0 && plan.n_heldout_rows < settings.n_heldout_rows) {
    task.say(LogLevel::warning, "{} held-out rows of the {} asked for: {} sequences are too few", plan.n_heldout_rows,
             settings.n_heldout_rows, plan.info.n_sequences + plan.info.n_heldout_sequences);
  }
  return result;
}

}  // namespace

CalibrationResult calibrate(const GgufFile& gguf, std::span<const std::vector<int32_t>> sequences,
                            const CalibrationSettings& settings, const std::string& output_path, ThreadPool& pool,
                            const Task& task) {
  const Model model(gguf, settings.isa.value_or(kernels::best_isa(host_cpu())));
  const CalibrationPlan plan = plan_calibration_run(gguf, model.config(), sequences, settings);
  check_output(gguf, output_path);
  check_memory_of(model.config(), settings);
  CalibrationResult result = describe(plan, settings, task);
  if (calibration_run_key(output_path) == plan.run_key) {
    task.say(LogLevel::info, "{}: done by an earlier run with the same arguments", output_path);
    WorkFolder::remove_leftovers(output_path);
    result.resumed_layers = static_cast<int64_t>(plan.stages.size()) - 1;
    return result;
  }
  WorkFolder work(output_path, plan.run_key, task);
  result.resumed_layers = std::max<int64_t>(work.stages_done() - 1, 0);
  if (work.stages_done() > 0) {
    task.say(LogLevel::info, "{}: going on after {} of {} layers", output_path, result.resumed_layers,
             plan.stages.size() - 1);
  }
  try {
    CalibrationRun(gguf, model, plan, settings, work, pool, task).run();
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::resource_exhausted,
         "calibrate: could not get memory for the second moments of a layer; "
         "--no-hessian needs none");
  }
  work.commit();
  return result;
}

}  // namespace thimble
