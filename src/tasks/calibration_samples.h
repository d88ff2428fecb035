// Token sequences to calibrate on, from task items (chat template applied, control tokens kept, the reference answer as
// the assistant's turn) and plain text; without repetitions and without what a model will be evaluated on.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace thimble {

/// Where samples come from: a folder with NAME.calib.jsonl, a JSONL file of task items, or a text file.
struct SampleSource {
  std::string path;
  double weight = 1.0;  // its part of all samples, relative to that of the others
};

/// "PATH" or "PATH=WEIGHT". Errors: invalid_argument (weight not above 0).
SampleSource parse_sample_source(const std::string& text);

struct SampleSettings {
  int64_t n_samples = 256;
  int64_t n_context = 512;  // tokens; longer items are cut, texts are cut into pieces of this length
  uint64_t seed = 1;
  // Evaluation data, as above (a folder: NAME.eval.jsonl, and the data of its NAME.task.json): items with the id or the
  // prompt of one of theirs are left out, and lines of 64 bytes or more of a text that are theirs. The tasks of a
  // folder that samples come from are always among them.
  std::vector<std::string> exclude;
};

/// What became of one source.
struct SampleCount {
  std::string path;
  bool is_text = false;
  int64_t n_found = 0;     // items, or pieces of text
  int64_t n_repeated = 0;  // dropped: the same tokens as an earlier one of any source
  int64_t n_excluded = 0;  // dropped: items of the evaluation; of a text, lines
  int64_t n_cut = 0;       // items longer than the context, among those taken
  int64_t n_taken = 0;
  int64_t n_tokens = 0;  // of those taken
};

struct CalibrationSamples {
  std::vector<std::vector<TokenId>> sequences;  // shuffled
  std::vector<SampleCount> sources;
  std::string description;  // "menu.calib.jsonl: 85 samples, ...": paths without folders, counts, seed
};

/// Deterministic in its arguments and in the files. When a source has fewer than its part the others give more; `task`
/// is warned when all together have fewer than n_samples, and of what was excluded or cut. Errors: not_found (file;
/// folder without NAME.calib.jsonl), corrupt (file, line, key), unsupported and not_found as detect_chat_template of a
/// missing template, invalid_argument (nothing left, n_samples or n_context < 1), resource_exhausted.
/// `chat_template` is called once, when there are items.
CalibrationSamples make_calibration_samples(const Tokenizer& tokenizer,
                                            const std::function<ChatTemplate()>& chat_template,
                                            std::span<const SampleSource> sources, const SampleSettings& settings,
                                            const Task& task = {});

}  // namespace thimble
