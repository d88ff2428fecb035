// thimble squeeze: the main job.
#include <fmt/format.h>

#include <cstdio>

#include "base/file.h"
#include "exit_codes.h"
#include "squeeze/squeeze.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

constexpr uint64_t kMaxReportBytes = uint64_t{1} << 30;

void print_candidate(const Candidate& c, bool picked) {
  const std::string size = fmt::format("{:.2f} MB", static_cast<double>(c.file_bytes) / 1e6);
  if (!c.excluded.empty()) {
    fmt::print("  {:<16} {:>11}  {}\n", c.recipe.name, size, c.excluded);
    return;
  }
  const bool kl = c.fidelity && c.fidelity->divergence;
  fmt::print("{} {:<16} {:>11}  {:>6.1f}  {:>+6.1f} ({:+.1f} to {:+.1f})  {:<7}{}\n", picked ? '*' : ' ', c.recipe.name,
             size, c.score.mean, c.against_float.mean, c.against_float.low, c.against_float.high,
             standing_name(c.standing), kl ? fmt::format("  KL {:.5f}", c.fidelity->divergence->mean_kl) : "");
}

void print_result(const SqueezeResult& r) {
  fmt::print("  {:<16} {:>11}  {:>6}  {:<24} {}\n", "candidate", "file", "score", "against float", "margin");
  fmt::print("  {:<16} {:>11}  {:>6.1f}\n", "float",
             fmt::format("{:.2f} MB", static_cast<double>(r.baseline.file_bytes) / 1e6), r.baseline.score.mean);
  for (size_t i = 0; i < r.candidates.size(); ++i) {
    print_candidate(r.candidates[i], r.picked >= 0 && static_cast<size_t>(r.picked) == i);
  }
  fmt::print("\n{}: {}\n\n", verdict_name(r.verdict), r.explanation);
  if (!r.model_path.empty()) fmt::print("model:  {}\n", r.model_path);
  fmt::print("report: {}\n        {}\n", r.report_html, r.report_json);
}

void run_squeeze(const SqueezeOptions& given, Context& context) {
  SqueezeOptions options = given;
  options.n_threads = context.n_threads;
  const SqueezeResult r = squeeze(options, context.task());
  print_checked([&] {
    if (context.json) {
      fmt::print("{}", read_file(r.report_json, kMaxReportBytes));
    } else {
      print_result(r);
    }
  });
  if (r.verdict == Verdict::nothing_fits) context.exit_code = kExitDoesNotFit;
  if (r.verdict == Verdict::cannot_tell) context.exit_code = kExitCannotTell;
}

}  // namespace

void add_squeeze(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand(
      "squeeze",
      "Try candidate quantizations, drop those that do not fit a device, score the others on tasks, pick one");
  auto o = std::make_shared<SqueezeOptions>();
  auto kv = std::make_shared<std::string>("f16");
  verb->add_option("model", o->model, "Hugging Face folder or float GGUF")->required();
  verb->add_option("--device", o->device, "device profile (TOML), or 'host'")->required();
  verb->add_option("--tasks", o->tasks, "folder with NAME.task.json and their data")->required();
  verb->add_option("-o,--output", o->output, "folder for model.gguf, report.html, report.json and work files")
      ->required();
  verb->add_option("--candidates", o->candidates, "list of candidates (TOML); default: the built-in list");
  auto* const data =
      verb->add_option("--calibrate", o->calibration_data,
                       "what to calibrate on: folder with NAME.calib.jsonl, JSONL of task items, or a "
                       "text file, PATH=WEIGHT; may be repeated; default: NAME.calib.jsonl of the tasks");
  data->allow_extra_args(false);
  auto* const calibration =
      verb->add_option("--calibration", o->calibration, "statistics of this model's inputs, from thimble calibrate");
  calibration->excludes(data);
  verb->add_option("--samples", o->calibration_samples, "sequences to calibrate on (default 256)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  verb->add_flag("!--no-calibration", o->calibrate, "round without statistics, as fast as can be")
      ->excludes(data)
      ->excludes(calibration);
  verb->add_option("--text", o->text, "text file: adds perplexity and KL divergence");
  verb->add_option("--kv", *kv, "key/value cache: f16 or int8")->check(CLI::IsMember({"f16", "int8"}));
  verb->add_option("-c,--context", o->context, "context the device must hold; default: the profile's");
  verb->add_option("--margin", o->margin, "points of 100 a candidate may lose against the float model on each task");
  verb->add_flag("--report-only", o->report_only,
                 "leave no model.gguf: with a journal of earlier runs, nothing is made that was measured before");
  verb->add_option("--confidence", o->confidence, "of the intervals, for example 0.95");
  verb->callback([o, kv, &context] {
    if (*kv == "int8") o->kv = ops::KvType::int8;
    run_squeeze(*o, context);
  });
}

}  // namespace thimble::cli
