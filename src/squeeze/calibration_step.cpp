// Sources, samples and the key of a calibration run.
#include "squeeze/calibration_step.h"

#include <algorithm>
#include <filesystem>
#include <span>

#include "base/error.h"
#include "base/hash.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace thimble {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kContext = 512;  // of a sample; as thimble calibrate

bool has_calibration_items(const std::string& folder) {
  constexpr std::string_view kEnding = ".calib.jsonl";
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.size() > kEnding.size() && name.ends_with(kEnding)) return true;
  }
  return false;
}

}  // namespace

std::vector<SampleSource> calibration_sources(const SqueezeOptions& options) {
  std::vector<SampleSource> out;
  if (!options.calibrate) {
    if (!options.calibration.empty() || !options.calibration_data.empty()) {
      fail(ErrorCode::invalid_argument, "squeeze: found a calibration to use and the wish for none, expected one");
    }
    return out;
  }
  if (!options.calibration.empty()) {
    if (!options.calibration_data.empty()) {
      fail(ErrorCode::invalid_argument, "squeeze: found both {} and data to calibrate on, expected one of them",
           options.calibration);
    }
    return out;
  }
  for (const std::string& text : options.calibration_data) out.push_back(parse_sample_source(text));
  if (out.empty() && has_calibration_items(options.tasks)) out.push_back({options.tasks});
  return out;
}

CalibrationSamples squeeze_samples(const SqueezeOptions& options, const GgufFile& model,
                                   const std::vector<SampleSource>& sources, const Task& task) {
  SampleSettings settings;
  settings.n_samples = options.calibration_samples;
  settings.n_context = std::min(kContext, read_model_config(model).n_ctx_train);
  settings.exclude = {options.tasks};
  return make_calibration_samples(
      Tokenizer(model), [&] { return detect_chat_template(model); }, sources, settings, task);
}

std::string calibration_run_key(const std::string& model_hash, const CalibrationSamples& samples,
                                const std::string& version) {
  ContentHasher hasher;
  for (const std::vector<TokenId>& tokens : samples.sequences) {
    const uint64_t n = tokens.size();
    hasher.update(std::as_bytes(std::span(&n, 1)));
    hasher.update(std::as_bytes(std::span(tokens)));
  }
  return fmt::format("calibrate/{}/{}/{}", model_hash, hasher.hash(), version);
}

}  // namespace thimble
