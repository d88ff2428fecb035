// thimble calibrate: what a model's matrices are multiplied by on product tasks and text, for thimble quantize; the
// same as llama.cpp's importance matrix; and a report of outlier channels.
#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "calibrate/calibrate.h"
#include "calibrate/imatrix.h"
#include "calibrate/outliers.h"
#include "model/model_config.h"
#include "standard_output.h"
#include "tasks/calibration_samples.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

struct CalibrateArguments {
  std::string model, output, imatrix, report, chat_template;
  std::vector<std::string> data;
  SampleSettings samples;
  int64_t n_heldout = 512;
  bool no_hessian = false;
};

void write_report(const CalibrateArguments& a, const Context& context) {
  const Calibration calibration = Calibration::open(a.report);
  const OutlierReport report = find_outliers(calibration);
  if (!a.output.empty()) write_file_atomically(a.output, outlier_html(report));
  if (!a.imatrix.empty()) write_imatrix(calibration, a.imatrix);
  print_checked([&] {
    if (context.json) {
      fmt::print("{}\n", outlier_json(report).dump(2, ' ', false, Json::error_handler_t::replace));
    } else if (a.output.empty()) {
      fmt::print("{}", outlier_text(report));
    } else {
      fmt::print("wrote {}\n", printable(a.output));
    }
  });
}

Json result_json(const CalibrateArguments& a, const CalibrationSamples& samples, const CalibrationResult& result) {
  Json sources = Json::array();
  for (const SampleCount& s : samples.sources) {
    sources.push_back({{"path", s.path},
                       {"kind", s.is_text ? "text" : "items"},
                       {"found", s.n_found},
                       {"repeated", s.n_repeated},
                       {"excluded", s.n_excluded},
                       {"cut", s.n_cut},
                       {"taken", s.n_taken},
                       {"tokens", s.n_tokens}});
  }
  return {{"model", a.model},
          {"output", a.output},
          {"imatrix", a.imatrix.empty() ? Json() : Json(a.imatrix)},
          {"sources", std::move(sources)},
          {"sequences", result.info.n_sequences},
          {"heldout_sequences", result.info.n_heldout_sequences},
          {"tokens", result.info.n_tokens},
          {"inputs", result.n_inputs},
          {"untouched_embedding_rows", result.untouched_rows},
          {"inputs_with_fewer_tokens_than_columns", result.singular.size()},
          {"resumed_layers", result.resumed_layers},
          {"bytes", result.file_bytes}};
}

void print_text(const CalibrateArguments& a, const CalibrationSamples& samples, const CalibrationResult& result) {
  for (const SampleCount& s : samples.sources) {
    fmt::print("{}: {} of {} {}, {} tokens\n", printable(s.path), s.n_taken, s.n_found, s.is_text ? "pieces" : "items",
               s.n_tokens);
  }
  fmt::print("{}: {} inputs over {} tokens of {} sequences ({} more held out), {} bytes\n", printable(a.output),
             result.n_inputs, result.info.n_tokens, result.info.n_sequences, result.info.n_heldout_sequences,
             result.file_bytes);
  fmt::print("{} rows of the embedding were never looked up\n", result.untouched_rows);
  if (!a.imatrix.empty()) fmt::print("{}: importance matrix for llama.cpp\n", printable(a.imatrix));
}

void run_calibrate(CalibrateArguments& a, const Context& context) {
  if (a.model.empty() || a.data.empty() || a.output.empty()) {
    fail(ErrorCode::invalid_argument, "calibrate: expected a model, --data and -o, or --report CALIB");
  }
  if (a.imatrix == a.output) {
    fail(ErrorCode::invalid_argument, "calibrate: found one name, {}, for -o and --imatrix, expected two", a.output);
  }
  std::vector<SampleSource> sources;
  for (const std::string& text : a.data) sources.push_back(parse_sample_source(text));
  const GgufFile gguf = GgufFile::open(a.model);
  const Tokenizer tokenizer(gguf);
  const int64_t n_ctx_train = read_model_config(gguf).n_ctx_train;
  const Task task = context.task();
  if (a.samples.n_context > n_ctx_train) {
    task.say(LogLevel::warning, "--context {}: the model was trained for {} tokens, which are used",
             a.samples.n_context, n_ctx_train);
    a.samples.n_context = n_ctx_train;
  }
  const auto chat_template = [&] {
    return a.chat_template.empty() ? detect_chat_template(gguf) : chat_template_from_name(a.chat_template);
  };
  const CalibrationSamples samples = make_calibration_samples(tokenizer, chat_template, sources, a.samples, task);
  CalibrationSettings settings;
  settings.second_moments = !a.no_hessian;
  settings.n_heldout_rows = a.n_heldout;
  settings.data = samples.description;
  settings.n_context = a.samples.n_context;
  ThreadPool pool(context.threads());
  const CalibrationResult result = calibrate(gguf, samples.sequences, settings, a.output, pool, task);
  if (!a.imatrix.empty()) write_imatrix(Calibration::open(a.output), a.imatrix);
  print_checked([&] {
    if (context.json) {
      fmt::print("{}\n", result_json(a, samples, result).dump(2, ' ', false, Json::error_handler_t::replace));
    } else {
      print_text(a, samples, result);
    }
  });
}

}  // namespace

void add_calibrate(CLI::App& app, Context& context) {
  auto a = std::make_shared<CalibrateArguments>();
  CLI::App* verb = app.add_subcommand("calibrate", "Measure what a model's matrices are multiplied by, for quantize");
  verb->add_option("MODEL", a->model, "GGUF of the float model");
  verb->add_option("--data", a->data,
                   "folder with NAME.calib.jsonl, JSONL of task items, or a text file; PATH=WEIGHT for more or less of "
                   "it; may be repeated")
      ->allow_extra_args(false);
  verb->add_option("-o,--output", a->output, "calibration to write; with --report: an HTML page");
  verb->add_option("--samples", a->samples.n_samples, "sequences in all, one in eight held out (default 256)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  verb->add_option("-c,--context", a->samples.n_context, "longest sequence in tokens (default 512)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  verb->add_option("--seed", a->samples.seed, "of the choice of samples (default 1)");
  verb->add_option("--exclude", a->samples.exclude,
                   "evaluation data (folder of tasks, JSONL or text): what is in it is not calibrated on; may be "
                   "repeated")
      ->allow_extra_args(false);
  verb->add_option("--heldout", a->n_heldout, "rows kept of each input from held-out sequences (default 512, 0: none)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  verb->add_flag("--no-hessian", a->no_hessian,
                 "no second-moment matrices: a small file, enough for importance and AWQ");
  verb->add_option("--imatrix", a->imatrix, "also write llama.cpp's importance matrix (GGUF)");
  verb->add_option("--template", a->chat_template, "chat template, when the model's own is missing or not known");
  verb->add_option("--report", a->report,
                   "no run: outlier channels of an existing calibration, as text, as --json, or with -o as HTML");
  verb->callback([a, &context] {
    if (a->report.empty()) {
      run_calibrate(*a, context);
    } else {
      write_report(*a, context);
    }
  });
}

}  // namespace thimble::cli
