// The main job: candidates -> fit the device -> score on the product's tasks -> pick with confidence -> model and
// report. A thin conductor over convert, quantize, eval and device: no algorithms of its own beyond the order of steps.
// Output folder: model.gguf, report.html, report.json, and work/ with the float model, every candidate and
// journal.jsonl.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "device/plan.h"
#include "eval/fidelity.h"
#include "eval/task_fidelity.h"
#include "eval/task_run.h"
#include "quantize/quantize.h"
#include "statistics/paired_tests.h"
#include "statistics/rank_agreement.h"
#include "statistics/statistics.h"

namespace thimble {

struct SqueezeOptions {
  std::string model;       // Hugging Face folder or float GGUF
  std::string device;      // profile path or "host"
  std::string tasks;       // folder
  std::string output;      // folder
  std::string candidates;  // TOML list; empty: the built-in list
  std::string text;        // file for perplexity and KL; empty: none
  // What candidates are rounded by. Empty `calibration`: statistics of the model on `calibration_data` (folders with
  // NAME.calib.jsonl, JSONL of items, texts) or, without any, on the NAME.calib.jsonl of `tasks`, if there are.
  bool calibrate = true;  // false: plain rounding
  std::string calibration;
  std::vector<std::string> calibration_data;
  int64_t calibration_samples = 256;
  int n_threads = 0;
  ops::KvType kv = ops::KvType::f16;
  int64_t context = 0;  // 0: the profile's; never more than the model's
  double margin = 1.0;  // points (0..100) a candidate may lose against the float model
  double confidence = 0.95;
  bool report_only = false;  // true: no model.gguf
};

/// What the paired comparison with the float model says of a candidate, over all tasks.
enum class Standing {
  excluded,  // not scored
  keeps,     // loses less than the margin on every task, with confidence (Holm-corrected over the candidates)
  loses,     // loses more than the margin on some task, with confidence (likewise)
  unclear,   // the items cannot tell
};
/// "excluded", "keeps", "loses" or "unclear".
std::string_view standing_name(Standing s) noexcept;

/// A candidate against the float model on one task, beside the interval in Candidate::task_differences.
struct TaskComparison {
  double p_different = 1;               // two-sided, by sign flips of clusters
  double p_keeps = 1, p_loses = 1;      // one-sided, of losing at least / at most the margin
  Flips flips;                          // items that pass (half of the points) with one and fail with the other
  double detectable = 0;                // points: the smallest difference that would be found 4 times in 5
  std::optional<int64_t> items_needed;  // in all, to decide 4 times in 5; empty: no realistic number
};

struct Candidate {
  Recipe recipe;
  uint64_t file_bytes = 0;
  double bits_per_weight = 0, body_bits_per_weight = 0;
  DevicePlan plan;
  std::string excluded;  // why it was not scored; empty when it was
  std::vector<TaskResult> tasks;
  Interval score;                          // mean primary score over all items, points 0..100
  PairedDifference against_float;          // points
  std::optional<FidelityResult> fidelity;  // on the text, where there is one
  std::vector<TaskFidelity> on_answers;    // to the float model's own answers, in the order of `tasks`; not of itself
  std::vector<PairedDifference> task_differences;  // against the float model, points, in the order of `tasks`
  std::vector<TaskComparison> comparisons;         // in the order of `tasks`
  double p_keeps = 1, p_loses = 1;                 // over all tasks, Holm-adjusted over the candidates
  Standing standing = Standing::excluded;
  std::string path;  // file in the work folder; empty when excluded. Gone when an earlier run has measured it all
  std::string hash;  // model_hash of that file
};

enum class Verdict { picked, cannot_tell, nothing_fits };
/// "picked", "cannot_tell" or "nothing_fits".
std::string_view verdict_name(Verdict v) noexcept;

/// How well a measure of fidelity orders the candidates, against the order by score.
struct OrderAgreement {
  std::string measure;  // "perplexity", "kl" (both on the text) or "answers_kl"
  std::string task;     // empty: mean over all items
  RankAgreement agreement;
};

struct SqueezeResult {
  Verdict verdict = Verdict::nothing_fits;
  int picked = -1;          // index into candidates
  std::string explanation;  // one paragraph
  Candidate baseline;       // the float model
  std::vector<Candidate> candidates;
  std::vector<OrderAgreement> order_agreement;  // per measure: all items, then each task
  DeviceProfile device;
  std::string model_path, report_html, report_json, report_md;  // written files; model_path empty: no model
  std::string model_name;                                       // general.name of the float model, or its path
  std::string version;                                          // of Thimble
  SqueezeOptions options;                                       // as given
  std::vector<TaskSet> tasks;                                   // as read
  std::string calibrated_on;                                    // in words; empty: plain rounding
};

/// Runs or resumes. Errors: those of every step; cancelled keeps the journal so that the next run goes on.
SqueezeResult squeeze(const SqueezeOptions& options, const Task& task = {});

}  // namespace thimble
