// From a float GGUF and recipes to quantized GGUFs: the execution of plans (quantize_plan.h).
#include "quantize/quantize.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/work_share.h"
#include "format/gguf_summary.h"
#include "format/gguf_writer.h"
#include "quantize/awq.h"
#include "quantize/convert_rows.h"
#include "quantize/quantize_plan.h"
#include "quantize/resumable_quantize.h"
#include "quantize/smooth.h"
#include "quantize/tensor_rounder.h"

namespace thimble {

namespace {

// The input stays mapped while the output is written: replacing it would lose the only float copy.
void refuse_overwriting(const GgufFile& input, const std::string& output_path) {
  std::error_code ignored;
  for (const std::string& path : input.paths()) {
    if (!std::filesystem::equivalent(path, output_path, ignored)) continue;
    fail(ErrorCode::invalid_argument, "{}: the output is the input {}, expected another file name", output_path, path);
  }
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

// Rows one by one: for files that need neither second moments nor folds. Too quick to be worth resuming.
void write_rows(const GgufFile& input, const std::string& output_path, const QuantizePlan& plan,
                const TensorRounder& statistics, ThreadPool& pool, const Task& task) {
  uint64_t total = 0;
  for (const GgufTensor& tensor : input.tensors()) total += static_cast<uint64_t>(tensor.view.n_elements());
  GgufWriter writer(output_path, plan.metadata, plan.tensors);
  RowConverter converter(pool, task);
  uint64_t done = 0;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const GgufTensor& tensor = input.tensors()[i];
    task.report(done, total, tensor.name);
    task.check(output_path);
    const RowConversion job = {
        input.source(), tensor.name, tensor.view, plan.tensors[i].type, statistics.importance(tensor), {}};
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
}

// The folds asked for and those the recipe has searched.
FoldPlan fold_plan(const GgufFile& input, const Recipe& recipe, const QuantizeInputs& inputs,
                   const ops::Backend& backend, const Task& task) {
  FoldPlan plan = inputs.folds;
  check_plan(plan, input);
  if (recipe.fold == FoldMethod::none) return plan;
  if (inputs.calibration == nullptr) {
    fail(ErrorCode::invalid_argument, "recipe {}: fold {} needs a calibration of {}, found none", recipe.name,
         fold_method_name(recipe.fold), input.source());
  }
  const std::vector<TypeChoice> choices = types_of(input, recipe, true);
  const FoldSearch found = recipe.fold == FoldMethod::awq
                               ? search_awq(input, *inputs.calibration, choices, {}, backend, task)
                               : search_smooth(input, *inputs.calibration, choices, {}, backend, task);
  say_fold_search(found, fold_method_name(recipe.fold), task);
  compose(&plan, found.plan);
  return plan;
}

// A method that nothing can be known for is a mistake of the caller, not one of the tensors that fall back.
void require_statistics(const GgufFile& input, const Recipe& recipe, const QuantizeInputs& inputs) {
  if (inputs.calibration != nullptr) return;
  const auto wants = [](const RoundingSettings& rounding) { return rounding.method != RoundingMethod::search; };
  const bool any =
      wants(recipe.rounding) || std::any_of(recipe.rounding_rules.begin(), recipe.rounding_rules.end(),
                                            [&](const RoundingRule& rule) { return wants(rule.rounding); });
  if (any) {
    fail(ErrorCode::invalid_argument, "recipe {}: rounding by {} needs a calibration of {}, found none", recipe.name,
         rounding_method_name(recipe.rounding.method), input.source());
  }
}

void say_roundings(const QuantizeResult& result, const Recipe& recipe, const Task& task) {
  size_t n_fallbacks = 0;
  const QuantizedTensor* first = nullptr;
  for (const QuantizedTensor& t : result.tensors) {
    if (t.loss.calibration >= 0.0 || t.loss.heldout >= 0.0) {
      task.say(LogLevel::info, "{}: {} by {} (damping {}): error {:.3g} of {:.3g}, held out {:.3g} of {:.3g}", t.name,
               traits(t.to).name, rounding_method_name(t.method), t.damp, t.loss.calibration, t.search_loss.calibration,
               t.loss.heldout, t.search_loss.heldout);
    }
    if (t.fallback.empty()) continue;
    ++n_fallbacks;
    if (first == nullptr) first = &t;
  }
  if (first != nullptr) {
    task.say(LogLevel::warning, "{}: {} of {} tensors were rounded by search instead, the first is {}: {}", recipe.name,
             n_fallbacks, result.tensors.size(), first->name, first->fallback);
  }
}

// Everything about a job that is known before the first weight is read.
QuantizePlan plan_job(const GgufFile& input, const QuantizeJob& job, const QuantizeInputs& inputs, const Task& task) {
  require_statistics(input, job.recipe, inputs);
  QuantizePlan plan = make_plan(input, job.recipe, inputs.calibration != nullptr || !inputs.importance.empty());
  if (inputs.calibration != nullptr) plan.metadata.set_string("thimble.calibration", inputs.calibration->info().data);
  plan.result.file_bytes = gguf_file_bytes(plan.metadata, plan.tensors);
  refuse_overwriting(input, job.output_path);
  say_choices(plan.result, job.recipe, task);
  return plan;
}

bool any_whole(const GgufFile& input, const Recipe& recipe, const QuantizePlan& plan, const TensorRounder& rounder) {
  for (size_t i = 0; i < input.tensors().size(); ++i) {
    if (plan.outliers[i] > 0 || rounder.needs_whole(recipe, input.tensors()[i], plan.tensors[i].type)) return true;
  }
  return false;
}

class QuantizeRun {
 public:
  QuantizeRun(const GgufFile& input, std::span<const QuantizeJob> jobs, const QuantizeInputs& inputs, ThreadPool& pool,
              const Task& task, const JobFinished& finished)
      : input_(input),
        jobs_(jobs),
        inputs_(inputs),
        pool_(pool),
        task_(task),
        finished_(finished),
        backend_(ops::make_backend(pool, kernels::best_isa(host_cpu()))) {
    for (const QuantizeJob& job : jobs) plans_.push_back(plan_job(input, job, inputs, task));
  }

  std::vector<QuantizeResult> run() {
    WorkShare work(task_, static_cast<double>(jobs_.size()));
    const std::vector<size_t> unfolded = without_folds();
    for (size_t j = 0; j < jobs_.size(); ++j) {
      const bool folds = std::find(unfolded.begin(), unfolded.end(), j) == unfolded.end();
      if (!folds) continue;
      const Task part = work.part(1, "");
      write(std::span(&j, 1), fold_plan(input_, jobs_[j].recipe, inputs_, backend_, part), part);
    }
    write(unfolded, {}, work.part(static_cast<double>(unfolded.size()), ""));
    std::vector<QuantizeResult> out;
    for (size_t j = 0; j < jobs_.size(); ++j) {
      say_roundings(plans_[j].result, jobs_[j].recipe, task_);
      out.push_back(std::move(plans_[j].result));
    }
    return out;
  }

 private:
  std::vector<size_t> without_folds() const {
    std::vector<size_t> out;
    for (size_t j = 0; j < jobs_.size(); ++j) {
      if (inputs_.folds.empty() && jobs_[j].recipe.fold == FoldMethod::none) out.push_back(j);
    }
    return out;
  }

  // Files of the same folds.
  void write(std::span<const size_t> numbers, const FoldPlan& folds, const Task& task) {
    TensorRounder rounder(input_, inputs_, folds, backend_, task);
    WorkShare work(task, static_cast<double>(numbers.size()));
    std::vector<size_t> together;
    std::vector<ResumableJob> resumable;
    for (const size_t j : numbers) {
      const QuantizeJob& job = jobs_[j];
      if (any_whole(input_, job.recipe, plans_[j], rounder)) {
        together.push_back(j);
        resumable.push_back({&input_, &job.recipe, &inputs_, &folds, job.output_path, &plans_[j]});
      } else {
        write_rows(input_, job.output_path, plans_[j], rounder, pool_, work.part(1, ""));
        tell(j);
      }
    }
    write_resumable(resumable, rounder, pool_, work.part(static_cast<double>(together.size()), ""),
                    [&](size_t i) { tell(together[i]); });
  }

  void tell(size_t job) const {
    if (finished_) finished_(job);
  }

  const GgufFile& input_;
  std::span<const QuantizeJob> jobs_;
  const QuantizeInputs& inputs_;
  ThreadPool& pool_;
  const Task& task_;
  const JobFinished& finished_;
  ops::Backend backend_;
  std::vector<QuantizePlan> plans_;  // of the jobs
};

}  // namespace

std::vector<QuantizeResult> quantize_all(const GgufFile& input, std::span<const QuantizeJob> jobs,
                                         const QuantizeInputs& inputs, ThreadPool& pool, const Task& task,
                                         const JobFinished& finished) {
  if (inputs.calibration != nullptr) inputs.calibration->require_model(input);
  return QuantizeRun(input, jobs, inputs, pool, task, finished).run();
}

QuantizeResult quantize(const GgufFile& input, const std::string& output_path, const Recipe& recipe,
                        const QuantizeInputs& inputs, ThreadPool& pool, const Task& task) {
  const QuantizeJob job = {output_path, recipe};
  return std::move(quantize_all(input, std::span(&job, 1), inputs, pool, task).front());
}

BitsPerWeight bits_per_weight(const GgufFile& file) noexcept {
  const GgufTotals totals = tensor_totals(file);
  return {totals.bits_per_weight(), totals.body_bits_per_weight()};
}

}  // namespace thimble
