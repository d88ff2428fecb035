// The order of work, the identity of a run, and the notes that bring its report back.
#include "quantize/resumable_quantize.h"

#include <fmt/ranges.h>

#include <algorithm>
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
  if (rounder.needs_whole(tensor, type)) return rounder.round(tensor, type);
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

}  // namespace

void write_resumable(const ResumableJob& job, const std::string& output_path, QuantizePlan& plan,
                     TensorRounder& rounder, ThreadPool& pool, const Task& task) {
  const std::vector<std::byte> header = gguf_header(plan.metadata, plan.tensors);
  std::vector<uint64_t> offsets;
  uint64_t end = header.size();
  uint64_t total = 0;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    offsets.push_back(end);
    end += (gguf_tensor_bytes(plan.tensors[i]) + kGgufDefaultAlignment - 1) / kGgufDefaultAlignment *
           kGgufDefaultAlignment;
  }
  for (const GgufTensor& tensor : job.input->tensors()) total += static_cast<uint64_t>(tensor.view.n_elements());
  ResumableFile file(output_path, end, run_key(job, header));
  RowConverter converter(pool, task);
  uint64_t done = 0;
  size_t n_resumed = 0;
  try {
    file.write("header", 0, header, "{}");
    for (const size_t i : work_order(job)) {
      const GgufTensor& tensor = job.input->tensors()[i];
      QuantizedTensor& report = plan.result.tensors[i];
      task.report(done, total, tensor.name);
      task.check(output_path);
      done += static_cast<uint64_t>(tensor.view.n_elements());
      if (const auto note = file.finished(report.name)) {
        take_note(*note, &report);
        ++n_resumed;
        continue;
      }
      Rounded rounded;
      if (plan.outliers[i] > 0) {
        OutlierBranch branch;
        rounded = rounder.round_with_branch(tensor, plan.tensors[i].type, plan.outliers[i], &branch);
        // Before the matrix itself, whose note says that the branch is there too.
        const size_t at = plan.branch_at[i];
        file.write(plan.tensors[at].name, offsets[at], std::as_bytes(std::span(branch.index)), "{}");
        file.write(plan.tensors[at + 1].name, offsets[at + 1], std::as_bytes(std::span(branch.values)), "{}");
      } else {
        rounded = round_tensor(job, tensor, plan.tensors[i].type, rounder, converter);
      }
      const std::string note = note_of(rounded).dump();
      file.write(report.name, offsets[i], rounded.bytes, note);
      take_note(note, &report);
      job.input->release(tensor.view.data);
    }
  } catch (const Error& e) {
    if (!is_interruption(e.code())) file.discard();
    throw;
  }
  if (n_resumed > 0) {
    task.say(LogLevel::info, "{}: {} of {} tensors were finished by an earlier run", output_path, n_resumed,
             job.input->tensors().size());
  }
  file.commit();
}

}  // namespace thimble
