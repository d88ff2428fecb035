// The order of work, the identity of a run, and the notes that bring its report back.
#include "quantize/resumable_quantize.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/resumable_file.h"
#include "quantize/convert_rows.h"
#include "tensor/grid.h"

namespace thimble {

namespace {

void hash_floats(ContentHasher& hasher, std::span<const float> values) {
  hasher.update(std::as_bytes(values));
  hasher.update("|");
}

void hash_rounding(ContentHasher& hasher, const RoundingSettings& settings) {
  hasher.update(
      fmt::format("{} {} {};", rounding_method_name(settings.method), fmt::join(settings.damps, ","), settings.sweeps));
}

// Everything that decides the bytes of the output: header (types, names, metadata), weights, statistics, folds,
// methods.
std::string run_key(const ResumableJob& job, std::span<const std::byte> header) {
  ContentHasher hasher;
  hasher.update("quantize 1;");
  hasher.update(header);
  for (const std::string& path : job.input->paths()) {
    const FileStamp stamp = file_stamp(path);
    hasher.update(fmt::format("{} {} {};", path, stamp.bytes, stamp.mtime_ns));
  }
  hash_rounding(hasher, job.recipe->rounding);
  for (const RoundingRule& rule : job.recipe->rounding_rules) {
    hasher.update(rule.match + "=");
    hash_rounding(hasher, rule.rounding);
  }
  // Maps have no order of their own.
  for (const GgufTensor& tensor : job.input->tensors()) {
    hasher.update(tensor.name);
    const auto importance = job.inputs->importance.find(std::string(tensor.name));
    if (importance != job.inputs->importance.end()) hash_floats(hasher, importance->second);
    if (const TensorScales* scales = find_scales(*job.folds, tensor.name)) {
      hash_floats(hasher, scales->rows);
      hash_floats(hasher, scales->columns);
    }
    if (job.inputs->calibration == nullptr) continue;
    if (const InputStatistics* statistics = job.inputs->calibration->find(tensor.name)) {
      hash_floats(hasher, statistics->mean_square);
      hasher.update(fmt::format("{} {};", statistics->n_tokens, job.inputs->calibration->heldout(tensor.name).n_rows));
    }
  }
  return hasher.hash();
}

Json note_of(const Rounded& rounded) {
  return {{"method", rounding_method_name(rounded.method)},
          {"damp", rounded.damp},
          {"loss", {rounded.loss.calibration, rounded.loss.heldout}},
          {"search", {rounded.search_loss.calibration, rounded.search_loss.heldout}},
          {"fallback", rounded.fallback}};
}

void take_note(const std::string& text, QuantizedTensor* tensor) {
  const Json note = Json::parse(text);
  tensor->method = rounding_method_from_name(note.at("method").get<std::string>());
  tensor->damp = note.at("damp").get<double>();
  tensor->loss = {note.at("loss").at(0).get<double>(), note.at("loss").at(1).get<double>()};
  tensor->search_loss = {note.at("search").at(0).get<double>(), note.at("search").at(1).get<double>()};
  tensor->fallback = note.at("fallback").get<std::string>();
}

// By input, so that second moments are read and factored once.
std::vector<size_t> work_order(const ResumableJob& job) {
  const auto tensors = job.input->tensors();
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (job.inputs->calibration == nullptr) return order;
  std::unordered_map<std::string, size_t> first;
  std::vector<size_t> group(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string input(job.inputs->calibration->input_of(tensors[i].name));
    group[i] = input.empty() ? i : first.try_emplace(input, i).first->second;
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return group[a] < group[b]; });
  return order;
}

// Rounded row by row, or as a whole where that is needed.
Rounded round_tensor(const ResumableJob& job, const GgufTensor& tensor, TensorType type, TensorRounder& rounder,
                     RowConverter& converter) {
  if (rounder.needs_whole(*job.recipe, tensor, type)) return rounder.round(*job.recipe, tensor, type);
  Rounded out;
  // The embedding multiplies nothing, so there is nothing that a method could have known of it.
  const bool wanted = rounding_of(*job.recipe, tensor.name).method != RoundingMethod::search;
  if (wanted && find_grid(type) != nullptr && tensor.name != "token_embd.weight") {
    out.fallback = "the calibration knows no second moment of its inputs";
  }
  const RowConversion conversion = {job.input->source(),        tensor.name, tensor.view, type,
                                    rounder.importance(tensor), {}};
  converter.convert(
      conversion,
      [&](std::span<const std::byte> piece) { out.bytes.insert(out.bytes.end(), piece.begin(), piece.end()); },
      [](int64_t) {});
  return out;
}

bool is_interruption(ErrorCode code) noexcept {
  return code == ErrorCode::cancelled || code == ErrorCode::io || code == ErrorCode::resource_exhausted;
}

// One file in the making.
class ResumableRun {
 public:
  explicit ResumableRun(const ResumableJob& job)
      : job_(job),
        header_(gguf_header(job.plan->metadata, job.plan->tensors)),
        file_(job.output_path, lay_out(), run_key(job, header_)) {
    file_.write("header", 0, header_, "{}");
  }

  // Tensor i of the input, unless an earlier run has finished it.
  void write(size_t i, TensorRounder& rounder, RowConverter& converter) {
    QuantizedTensor& report = job_.plan->result.tensors[i];
    if (const auto note = file_.finished(report.name)) {
      take_note(*note, &report);
      ++n_resumed_;
      return;
    }
    try {
      const std::string note = note_of(round_and_write(i, rounder, converter)).dump();
      take_note(note, &report);
    } catch (const Error& e) {
      if (!is_interruption(e.code())) file_.discard();
      throw;
    }
  }

  void commit(const Task& task) {
    if (n_resumed_ > 0) {
      task.say(LogLevel::info, "{}: {} of {} tensors were finished by an earlier run", job_.output_path, n_resumed_,
               job_.input->tensors().size());
    }
    file_.commit();
  }

 private:
  // Where tensors go; returns where the file ends.
  uint64_t lay_out() {
    uint64_t end = header_.size();
    for (const GgufTensorPlan& tensor : job_.plan->tensors) {
      offsets_.push_back(end);
      end += (gguf_tensor_bytes(tensor) + kGgufDefaultAlignment - 1) / kGgufDefaultAlignment * kGgufDefaultAlignment;
    }
    return end;
  }

  Rounded round_and_write(size_t i, TensorRounder& rounder, RowConverter& converter) {
    const QuantizePlan& plan = *job_.plan;
    const GgufTensor& tensor = job_.input->tensors()[i];
    Rounded rounded;
    if (plan.outliers[i] > 0) {
      OutlierBranch branch;
      rounded = rounder.round_with_branch(*job_.recipe, tensor, plan.tensors[i].type, plan.outliers[i], &branch);
      // Before the matrix itself, whose note says that the branch is there too.
      const size_t at = plan.branch_at[i];
      file_.write(plan.tensors[at].name, offsets_[at], std::as_bytes(std::span(branch.index)), "{}");
      file_.write(plan.tensors[at + 1].name, offsets_[at + 1], std::as_bytes(std::span(branch.values)), "{}");
    } else {
      rounded = round_tensor(job_, tensor, plan.tensors[i].type, rounder, converter);
    }
    file_.write(plan.tensors[i].name, offsets_[i], rounded.bytes, note_of(rounded).dump());
    return rounded;
  }

  const ResumableJob& job_;
  std::vector<std::byte> header_;
  std::vector<uint64_t> offsets_;  // of the plan's tensors
  ResumableFile file_;
  size_t n_resumed_ = 0;
};

}  // namespace

void write_resumable(std::span<const ResumableJob> jobs, TensorRounder& rounder, ThreadPool& pool, const Task& task,
                     const JobFinished& finished) {
  if (jobs.empty()) return;
  const GgufFile& input = *jobs.front().input;
  std::deque<ResumableRun> runs;  // never moves
  for (const ResumableJob& job : jobs) runs.emplace_back(job);
  uint64_t total = 0, done = 0;
  for (const GgufTensor& tensor : input.tensors())
    total += jobs.size() * static_cast<uint64_t>(tensor.view.n_elements());
  RowConverter converter(pool, task);
  for (const size_t i : work_order(jobs.front())) {
    const GgufTensor& tensor = input.tensors()[i];
    for (size_t j = 0; j < jobs.size(); ++j) {
      task.report(done, total, tensor.name);
      task.check(jobs[j].output_path);
      runs[j].write(i, rounder, converter);
      done += static_cast<uint64_t>(tensor.view.n_elements());
    }
    input.release(tensor.view.data);
  }
  for (size_t j = 0; j < jobs.size(); ++j) {
    runs[j].commit(task);
    finished(j);
  }
}

}  // namespace thimble
