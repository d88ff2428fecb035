// The order of steps. Everything long goes through work/journal.jsonl: conversion and quantizations by the hash of what
// they wrote, answers and text chunks one by one, so a killed run goes on where it was.
#include "squeeze/squeeze.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/cpu_topology.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "calibrate/calibrate.h"
#include "convert/convert.h"
#include "eval/engines.h"
#include "eval/model_hash.h"
#include "squeeze/calibration_step.h"
#include "squeeze/candidates.h"
#include "squeeze/pick.h"
#include "squeeze/report.h"
#include "squeeze/work_files.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kPlanBatch = 256;  // SessionOptions' default prefill chunk
constexpr int kPlanThreads = 4;      // big cores of the phones in devices/
constexpr int64_t kTextChunk = 512;  // llama-perplexity's default, so that figures compare
constexpr uint64_t kMaxTextBytes = uint64_t{1} << 28;
// Models that are held open together while a text chunk goes through all of them.
constexpr uint64_t kFidelityGroupBytes = uint64_t{1} << 30;

// Shares of the whole run, for one progress bar.
struct Phase {
  double from, to;
};
constexpr Phase kPrepare{0.0, 0.02}, kCalibrate{0.02, 0.1}, kQuantize{0.1, 0.3}, kBaseline{0.3, 0.35},
    kTasks{0.35, 0.8}, kFidelity{0.8, 1.0};

void check_options(const SqueezeOptions& o) {
  if (!(o.margin >= 0 && o.margin <= 100)) {
    fail(ErrorCode::invalid_argument, "margin: found {}, expected 0 to 100 points", o.margin);
  }
  if (!(o.confidence > 0.5 && o.confidence < 1)) {
    fail(ErrorCode::invalid_argument, "confidence: found {}, expected a value between 0.5 and 1", o.confidence);
  }
  if (o.context < 0) fail(ErrorCode::invalid_argument, "context: found {}, expected 0 or more", o.context);
  if (o.output.empty()) fail(ErrorCode::invalid_argument, "output: found no folder, expected one");
}

std::string make_work_folder(const std::string& output) {
  std::string work = (fs::path(output) / "work").string();
  std::error_code error;
  fs::create_directories(work, error);
  if (error) fail(ErrorCode::io, "{}: cannot make the folder: {}", work, error.message());
  return work;
}

class Squeeze {
 public:
  Squeeze(const SqueezeOptions& options, const Task& task)
      : options_(options),
        task_(task),
        n_threads_(options.n_threads > 0 ? options.n_threads : usable_cpu_count()),
        pool_(n_threads_) {
    result_.options = options;
    result_.version = THIMBLE_VERSION;
    read_inputs();  // first: a mistake in them leaves no folder behind
    work_ = make_work_folder(options.output);
    journal_.emplace((fs::path(work_) / "journal.jsonl").string());
  }

  SqueezeResult run() {
    prepare_float_model();
    prepare_calibration();
    plan_candidates();
    quantize_candidates();
    score_baseline();
    score_candidates();
    measure_candidates();
    conclude(result_);
    write_results();
    return std::move(result_);
  }

 private:
  // Progress of one step, whose own units fill the share `at` (0..1) to `at + width` of `phase`.
  Task part(const Phase& phase, double at, double width, std::string label) const {
    Task out;
    out.cancel = task_.cancel;
    out.log = task_.log;
    if (!task_.progress) return out;
    const double from = phase.from + at * (phase.to - phase.from);
    const double span = width * (phase.to - phase.from);
    out.progress = [this, from, span, label = std::move(label)](uint64_t done, uint64_t total, std::string_view what) {
      const double share = total == 0 ? 0.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
      task_.report(static_cast<uint64_t>(1000.0 * (from + share * span)), 1000, fmt::format("{}: {}", label, what));
    };
    return out;
  }

  void read_inputs() {
    result_.tasks = read_tasks(options_.tasks);
    result_.device = options_.device == "host" ? measure_host(n_threads_) : read_device_profile(options_.device);
    const std::vector<Recipe> recipes =
        options_.candidates.empty() ? default_candidates() : read_candidates(options_.candidates);
    for (const Recipe& recipe : recipes) result_.candidates.emplace_back().recipe = recipe;
    calibration_sources_ = calibration_sources(options_);
    if (!options_.text.empty()) text_ = read_file(options_.text, kMaxTextBytes);
    if (!is_hf_folder(options_.model)) float_ = GgufFile::open(options_.model);
    std::error_code ignored;
    if (fs::equivalent(options_.model, fs::path(options_.output) / "model.gguf", ignored)) {
      fail(ErrorCode::invalid_argument,
           "{}: the picked model would overwrite this float model, expected another output", options_.model);
    }
  }

  void prepare_float_model() {
    Candidate& base = result_.baseline;
    base.recipe.name = "float";
    base.path = is_hf_folder(options_.model) ? convert_float() : options_.model;
    if (!float_) float_ = GgufFile::open(base.path);
    base.hash = model_hash(*float_);
    base.file_bytes = float_->file_bytes();
    const BitsPerWeight bits = bits_per_weight(*float_);
    base.bits_per_weight = bits.total;
    base.body_bits_per_weight = bits.body;
    footprint_ = footprint(*float_);
    base.plan = plan(footprint_);
    if (!text_.empty()) {
      (void)tokenize_for_chunks(Tokenizer(*float_), text_, fidelity_settings().n_ctx, options_.text);
    }
    const std::string file_name = fs::path(options_.model).filename().string();
    result_.model_name = footprint_.config.name.empty() ? file_name : footprint_.config.name;
  }

  void prepare_calibration() {
    if (!options_.calibration.empty()) {
      calibration_.emplace(Calibration::open(options_.calibration));
      calibration_hash_ = file_hash(options_.calibration);
    } else if (!calibration_sources_.empty()) {
      const std::string path = (fs::path(work_) / "calib.thimble").string();
      const CalibrationSamples samples = squeeze_samples(options_, *float_, calibration_sources_, task_);
      const std::string key = calibration_run_key(result_.baseline.hash, samples, result_.version);
      if (!is_finished(key, path)) {
        CalibrationSettings settings;
        settings.data = samples.description;
        calibrate(*float_, samples.sequences, settings, path, pool_, part(kCalibrate, 0, 1, "calibrate"));
      }
      calibration_hash_ = file_hash(path);
      remember(key, calibration_hash_);
      calibration_.emplace(Calibration::open(path));
    }
    if (!calibration_) return;
    calibration_->require_model(*float_);
    result_.calibrated_on = calibration_->info().data;
    for (Candidate& c : result_.candidates) {
      c.recipe = with_default_rounding(std::move(c.recipe), &*calibration_);
    }
  }

  // Path of the float GGUF of a Hugging Face folder, made unless an earlier run has made it.
  std::string convert_float() {
    std::string path = (fs::path(work_) / "float.gguf").string();
    const TensorType type = float_type_of(options_.model);
    const std::string key =
        fmt::format("convert/{}/{}/{}", folder_fingerprint(options_.model), traits(type).name, result_.version);
    if (is_finished(key, path)) return path;
    convert_hf(options_.model, path, type, part(kPrepare, 0, 1, "convert"));
    remember(key, file_hash(path));
    return path;
  }

  bool is_finished(const std::string& key, const std::string& path) const {
    const std::optional<std::string> hash = journal_->find(key);
    if (!hash) return false;
    const bool intact = fs::is_regular_file(path) && Json(file_hash(path)).dump() == *hash;
    if (intact) task_.say(LogLevel::info, "{}: taken from an earlier run", path);
    if (!intact) task_.say(LogLevel::warning, "{}: missing or changed since an earlier run, made again", path);
    return intact;
  }

  void remember(const std::string& key, const std::string& hash) {
    if (journal_->find(key) != Json(hash).dump()) journal_->append(key, Json(hash).dump());
  }

  DevicePlan plan(const ModelFootprint& model) const {
    const int64_t wanted = options_.context > 0 ? options_.context : result_.device.context;
    const int64_t context = std::min(wanted, model.config.n_ctx_train);
    return make_plan(model, result_.device, context, options_.kv, kPlanBatch, kPlanThreads);
  }

  void plan_candidates() {
    for (Candidate& c : result_.candidates) {
      const QuantizeResult planned = plan_quantize(*float_, c.recipe, calibration_.has_value());
      c.file_bytes = planned.file_bytes;
      c.bits_per_weight = planned.bits_per_weight;
      c.body_bits_per_weight = planned.body_bits_per_weight;
      c.plan = plan(planned_footprint(planned, footprint_.config));
      c.excluded = reason_to_exclude(c.plan);
      if (!c.excluded.empty()) task_.say(LogLevel::info, "{}: {}", c.recipe.name, c.excluded);
    }
  }

  std::string reason_to_exclude(const DevicePlan& p) const {
    constexpr double kMiB = 1024.0 * 1024.0;
    if (!p.fits) {
      return fmt::format("does not fit: needs {:.1f} MiB at context {}, the device lends {:.1f} MiB",
                         static_cast<double>(p.total_bytes) / kMiB, p.context,
                         static_cast<double>(p.available_bytes) / kMiB);
    }
    if (p.too_slow) {
      return fmt::format("too slow: {:.1f} tokens/s predicted, the profile asks for {:.1f}", p.decode_tokens_per_s,
                         result_.device.min_decode_tokens_per_s);
    }
    if (p.too_hot) {
      return fmt::format("too hot: {:.1f} W predicted in decode, the device sustains {:.1f} W", p.decode_watts,
                         result_.device.watts_limit);
    }
    return "";
  }

  std::vector<Candidate*> fitting() {
    std::vector<Candidate*> out;
    for (Candidate& c : result_.candidates) {
      if (c.excluded.empty()) out.push_back(&c);
    }
    return out;
  }

  void quantize_candidates() {
    const std::vector<Candidate*> todo = fitting();
    QuantizeInputs inputs;
    if (calibration_) inputs.calibration = &*calibration_;
    const double width = todo.empty() ? 0 : 1.0 / static_cast<double>(todo.size());
    for (size_t i = 0; i < todo.size(); ++i) {
      Candidate& c = *todo[i];
      task_.check("squeeze");
      c.path = (fs::path(work_) / (file_stem(c.recipe.name) + ".gguf")).string();
      const Json parts = {result_.baseline.hash, recipe_identity(c.recipe), calibration_hash_, result_.version};
      const std::string key = fmt::format("quantize/{}/{}", c.recipe.name, content_hash(parts.dump()));
      if (!is_finished(key, c.path)) {
        const Task progress = part(kQuantize, static_cast<double>(i) * width, width, "quantize " + c.recipe.name);
        quantize(*float_, c.path, c.recipe, inputs, pool_, progress);
      }
      c.hash = file_hash(c.path);
      remember(key, c.hash);
      c.file_bytes = fs::file_size(c.path);
    }
  }

  std::vector<std::shared_ptr<const Engine>> open_engines(const Candidate& c) const {
    EngineOptions engine_options;
    engine_options.n_threads = n_threads_;
    return open_task_engines(c.path, engine_options);
  }

  std::shared_ptr<const Engine> open_engine(const Candidate& c) const {
    EngineOptions engine_options;
    engine_options.n_threads = n_threads_;
    return Engine::open(c.path, engine_options);
  }

  std::string model_key(const Candidate& c) const { return c.hash + "/" + result_.version; }

  void run_tasks(Candidate& c, const Phase& phase, double at, double width) {
    const auto engines = open_engines(c);
    const double share = width / static_cast<double>(result_.tasks.size());
    TaskRunSettings settings;
    settings.kv = options_.kv;
    settings.model_key = model_key(c);
    settings.journal = &*journal_;
    for (size_t t = 0; t < result_.tasks.size(); ++t) {
      const Task progress = part(phase, at + static_cast<double>(t) * share, share, c.recipe.name);
      c.tasks.push_back(run_task(engines, result_.tasks[t], settings, progress));
    }
  }

  FidelitySettings fidelity_settings() {
    FidelitySettings settings;
    settings.n_ctx = std::min(kTextChunk, footprint_.config.n_ctx_train);
    settings.kv = options_.kv;
    settings.journal = &*journal_;
    return settings;
  }

  void score_baseline() {
    Candidate& base = result_.baseline;
    run_tasks(base, kBaseline, 0, 0.7);
    if (!text_.empty()) {
      const FidelityModel model{open_engine(base), model_key(base)};
      const Task progress = part(kBaseline, 0.7, 0.3, base.recipe.name);
      base.fidelity = measure_fidelity(std::span(&model, 1), nullptr, text_, fidelity_settings(), progress).front();
    }
  }

  void score_candidates() {
    const std::vector<Candidate*> todo = fitting();
    for (size_t i = 0; i < todo.size(); ++i) {
      const double width = 1.0 / static_cast<double>(todo.size());
      run_tasks(*todo[i], kTasks, static_cast<double>(i) * width, width);
    }
  }

  // In groups of models that are open together, so that small ones share one run of the float model.
  void measure_candidates() {
    if (text_.empty()) return;
    const std::vector<Candidate*> todo = fitting();
    if (todo.empty()) return;
    const std::shared_ptr<const Engine> reference = open_engine(result_.baseline);
    FidelitySettings settings = fidelity_settings();
    settings.reference_key = model_key(result_.baseline);
    for (size_t begin = 0; begin < todo.size();) {
      std::vector<FidelityModel> group;
      uint64_t bytes = 0;
      size_t end = begin;
      while (end < todo.size() && (group.empty() || bytes + todo[end]->file_bytes <= kFidelityGroupBytes)) {
        bytes += todo[end]->file_bytes;
        group.push_back({open_engine(*todo[end]), model_key(*todo[end])});
        ++end;
      }
      const auto n = static_cast<double>(todo.size());
      const Task progress =
          part(kFidelity, static_cast<double>(begin) / n, static_cast<double>(end - begin) / n, "text");
      const std::vector<FidelityResult> results = measure_fidelity(group, reference, text_, settings, progress);
      for (size_t i = begin; i < end; ++i) todo[i]->fidelity = results[i - begin];
      begin = end;
    }
  }

  // The model first: a report never tells of a model that is not there.
  void write_results() {
    const fs::path output(options_.output);
    const std::string model = (output / "model.gguf").string();
    if (result_.picked >= 0) {
      publish_file(result_.candidates[static_cast<size_t>(result_.picked)].path, model);
      result_.model_path = model;
    } else {
      // A model of an earlier run with other settings must not look like this run's.
      std::error_code ignored;
      fs::remove(model, ignored);
    }
    result_.report_html = (output / "report.html").string();
    result_.report_json = (output / "report.json").string();
    result_.report_md = (output / "report.md").string();
    write_file_atomically(result_.report_html, report_html(result_));
    write_file_atomically(result_.report_json, report_json(result_));
    write_file_atomically(result_.report_md, report_markdown(result_));
  }

  const SqueezeOptions& options_;
  const Task& task_;
  int n_threads_;
  ThreadPool pool_;
  std::string work_;
  std::optional<Journal> journal_;
  std::string text_;
  std::optional<GgufFile> float_;
  ModelFootprint footprint_;
  std::vector<SampleSource> calibration_sources_;
  std::optional<Calibration> calibration_;
  std::string calibration_hash_;  // of the file; empty: plain rounding
  SqueezeResult result_;
};

}  // namespace

SqueezeResult squeeze(const SqueezeOptions& options, const Task& task) {
  check_options(options);
  return Squeeze(options, task).run();
}

}  // namespace thimble
