// The order of steps. Everything long goes through work/journal.jsonl: conversion and quantizations by the hash of what
// they wrote, answers and text chunks one by one, so a killed run goes on where it was. A candidate that the journal
// has measured to the end needs no file: the journal alone, copied to another machine, is enough to go on from.
#include "squeeze/squeeze.h"

#include <algorithm>
#include <filesystem>

#include "base/cpu_topology.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/work_share.h"
#include "calibrate/calibrate.h"
#include "convert/convert.h"
#include "eval/model_hash.h"
#include "eval/text_groups.h"
#include "squeeze/calibration_step.h"
#include "squeeze/candidates.h"
#include "squeeze/made_files.h"
#include "squeeze/pick.h"
#include "squeeze/report.h"
#include "squeeze/scoring_step.h"
#include "squeeze/work_files.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kPlanBatch = 256;  // SessionOptions' default prefill chunk
constexpr int kPlanThreads = 4;      // big cores of the phones in devices/
constexpr uint64_t kMaxTextBytes = uint64_t{1} << 28;

// Shares of the whole run, for one progress bar.
constexpr double kConvertWork = 2, kCalibrateWork = 8, kQuantizeWork = 20, kScoreWork = 70;

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
        work_share_(task, kConvertWork + kCalibrateWork + kQuantizeWork + kScoreWork),
        n_threads_(options.n_threads > 0 ? options.n_threads : usable_cpu_count()),
        pool_(n_threads_) {
    result_.options = options;
    result_.version = THIMBLE_VERSION;
    read_inputs();  // first: a mistake in them leaves no folder behind
    work_ = make_work_folder(options.output);
    journal_.emplace((fs::path(work_) / "journal.jsonl").string());
    made_.emplace(*journal_, task_);
  }

  SqueezeResult run() {
    prepare_float_model();
    prepare_calibration();
    plan_candidates();
    quantize_candidates();
    score_models();
    conclude(result_);
    make_picked();
    write_results();
    return std::move(result_);
  }

 private:
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
    const Task progress = work_share_.part(kConvertWork, "convert");
    base.path = is_hf_folder(options_.model) ? convert_float(progress) : options_.model;
    if (!float_) float_ = GgufFile::open(base.path);
    base.hash = model_hash(*float_);
    base.file_bytes = float_->file_bytes();
    const BitsPerWeight bits = bits_per_weight(*float_);
    base.bits_per_weight = bits.total;
    base.body_bits_per_weight = bits.body;
    footprint_ = footprint(*float_);
    base.plan = plan(footprint_);
    if (!text_.empty()) {
      (void)tokenize_for_chunks(Tokenizer(*float_), text_, text_context(footprint_.config.n_ctx_train), options_.text);
    }
    const std::string file_name = fs::path(options_.model).filename().string();
    result_.model_name = footprint_.config.name.empty() ? file_name : footprint_.config.name;
  }

  // What candidates are rounded by, known by its hash: the file is made when one has to be rounded.
  void prepare_calibration() {
    bool second_moments = false;
    if (!options_.calibration.empty()) {
      calibration_.emplace(Calibration::open(options_.calibration));
      calibration_->require_model(*float_);
      calibration_hash_ = file_hash(options_.calibration);
      result_.calibrated_on = calibration_->info().data;
      second_moments = calibration_->has_second_moments();
    } else if (!calibration_sources_.empty()) {
      samples_ = squeeze_samples(options_, *float_, calibration_sources_, task_);
      calibration_key_ = calibration_run_key(result_.baseline.hash, *samples_, result_.version);
      result_.calibrated_on = samples_->description;
      second_moments = true;
      calibration_hash_ = made_->hash_of(calibration_key_);
      if (calibration_hash_.empty()) (void)calibration();
    }
    for (Candidate& c : result_.candidates) {
      c.recipe = with_default_rounding(std::move(c.recipe), second_moments);
    }
  }

  // The statistics themselves; null without any.
  const Calibration* calibration() {
    if (calibration_) return &*calibration_;
    if (!samples_) return nullptr;
    const Task progress = work_share_.part(kCalibrateWork, "calibrate");
    const std::string path = (fs::path(work_) / "calib.thimble").string();
    if (!made_->unchanged(calibration_key_, path)) {
      CalibrationSettings settings;
      settings.data = samples_->description;
      calibrate(*float_, samples_->sequences, settings, path, pool_, progress);
    }
    const std::string hash = file_hash(path);
    if (!calibration_hash_.empty() && hash != calibration_hash_) {
      fail(ErrorCode::internal,
           "{}: found statistics with hash {}, expected {} as in an earlier run of the same inputs", path, hash,
           calibration_hash_);
    }
    calibration_hash_ = hash;
    made_->remember(calibration_key_, hash);
    calibration_.emplace(Calibration::open(path));
    calibration_->require_model(*float_);
    return &*calibration_;
  }

  // Path of the float GGUF of a Hugging Face folder, made unless an earlier run has made it.
  std::string convert_float(const Task& progress) {
    std::string path = (fs::path(work_) / "float.gguf").string();
    const TensorType type = float_type_of(options_.model);
    const std::string key =
        fmt::format("convert/{}/{}/{}", folder_fingerprint(options_.model), traits(type).name, result_.version);
    if (made_->unchanged(key, path)) return path;
    convert_hf(options_.model, path, type, progress);
    made_->remember(key, file_hash(path));
    return path;
  }

  DevicePlan plan(const ModelFootprint& model) const {
    const int64_t wanted = options_.context > 0 ? options_.context : result_.device.context;
    const int64_t context = std::min(wanted, model.config.n_ctx_train);
    return make_plan(model, result_.device, context, options_.kv, kPlanBatch, kPlanThreads);
  }

  void plan_candidates() {
    for (Candidate& c : result_.candidates) {
      const QuantizeResult planned = plan_quantize(*float_, c.recipe, !calibration_hash_.empty());
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
    std::vector<Candidate*> missing;
    for (Candidate* c : fitting()) {
      c->path = (fs::path(work_) / (file_stem(c->recipe.name) + ".gguf")).string();
      if (!take_known(*c)) missing.push_back(c);
    }
    make_files(missing);
  }

  // Takes a candidate from an earlier run: by its file, or, where that is gone, by what is known of it when there is
  // nothing left to measure.
  bool take_known(Candidate& c) {
    const std::string key = quantize_key(c);
    if (!fs::is_regular_file(c.path)) {
      c.hash = made_->hash_of(key);
      c.file_bytes = made_->bytes_of(c.hash);
      if (c.file_bytes > 0 && is_scored(result_.baseline, c, scoring_inputs())) {
        task_.say(LogLevel::info, "{}: measured by an earlier run", c.recipe.name);
        return true;
      }
      c.hash.clear();
    }
    const std::optional<std::string> hash = made_->unchanged(key, c.path);
    if (hash) take_file(c, *hash);
    return hash.has_value();
  }

  void make_files(const std::vector<Candidate*>& candidates) {
    if (candidates.empty()) return;
    QuantizeInputs inputs;
    inputs.calibration = calibration();
    std::vector<QuantizeJob> jobs;
    for (const Candidate* c : candidates) jobs.push_back({c->path, c->recipe});
    const Task progress = work_share_.part(kQuantizeWork, "quantize");
    quantize_all(*float_, jobs, inputs, pool_, progress, [&](size_t j) {
      Candidate& c = *candidates[j];
      take_file(c, file_hash(c.path));
      made_->remember(quantize_key(c), c.hash);
    });
  }

  // The file of a picked candidate that was taken from the journal alone.
  void make_picked() {
    if (result_.picked < 0 || options_.report_only) return;
    Candidate& picked = result_.candidates[static_cast<size_t>(result_.picked)];
    if (fs::is_regular_file(picked.path)) return;
    const std::string measured = picked.hash;
    make_files({&picked});
    if (picked.hash != measured) {
      fail(ErrorCode::internal, "{}: found a file with hash {}, expected {}, the one that was measured", picked.path,
           picked.hash, measured);
    }
  }

  std::string quantize_key(const Candidate& c) const {
    const Json parts = {result_.baseline.hash, recipe_identity(c.recipe), calibration_hash_, result_.version};
    return fmt::format("quantize/{}/{}", c.recipe.name, content_hash(parts.dump()));
  }

  void take_file(Candidate& c, const std::string& hash) {
    c.hash = hash;
    c.file_bytes = fs::file_size(c.path);
    made_->remember_bytes(hash, c.file_bytes);
  }

  ScoringInputs scoring_inputs() {
    return {options_,
            result_.tasks,
            text_,
            *float_,
            footprint_.config.n_ctx_train,
            n_threads_,
            result_.version,
            (fs::path(work_) / "reference").string(),
            *journal_};
  }

  void score_models() {
    const ScoringInputs inputs = scoring_inputs();
    thimble::score_models(result_.baseline, fitting(), inputs, work_share_.part(kScoreWork, ""));
  }

  // The model first: a report never tells of a model that is not there.
  void write_results() {
    const fs::path output(options_.output);
    const std::string model = (output / "model.gguf").string();
    if (result_.picked >= 0 && !options_.report_only) {
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
  WorkShare work_share_;
  int n_threads_;
  ThreadPool pool_;
  std::string work_;
  std::optional<Journal> journal_;
  std::optional<MadeFiles> made_;
  std::string text_;
  std::optional<GgufFile> float_;
  ModelFootprint footprint_;
  std::vector<SampleSource> calibration_sources_;
  std::optional<CalibrationSamples> samples_;  // of a calibration that this run makes
  std::string calibration_key_;                // of the same
  std::optional<Calibration> calibration_;     // opened when needed
  std::string calibration_hash_;               // of the file; empty: plain rounding
  SqueezeResult result_;
};

}  // namespace

SqueezeResult squeeze(const SqueezeOptions& options, const Task& task) {
  check_options(options);
  return Squeeze(options, task).run();
}

}  // namespace thimble
