// AWQ (Lin et al. 2306.00978): factors that give salient channels finer steps, chosen per site by the error of the real
// target grid and its own scale search. Differences from AutoAWQ on purpose: identity is a candidate, folds are taken
// only when held-out inputs confirm them, v -> o is folded under grouped queries too, the loss comes from second
// moments (no activations are run), and there is no clip search (the importance-weighted scale search takes its place).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/progress.h"
#include "calibrate/calibration.h"
#include "quantize/fold_loss.h"

namespace thimble {

struct AwqSettings {
  int n_grid = 20;             // ratios 0, 1/n, ... (n - 1)/n
  int64_t search_rows = 128;   // sampled rows per matrix that candidates are compared on
  int64_t final_rows = 512;    // that the best candidates and identity are compared on
  int n_finalists = 2;         // best candidates of the search that the decision looks at
  double min_gain = 0.01;      // a fold must lower the deciding error by this share
  bool use_importance = true;  // whether the rounding will be weighted by the mean squares of the inputs
  std::vector<FoldKind> kinds = {FoldKind::qkv, FoldKind::attn_output, FoldKind::gate_up, FoldKind::down};
  RoundRowsFn final_round;  // rounding that decides, such as GPTQ; empty: scale search, as in the search
};

/// plain: s = x^r. duo: s = x^r / (w^(1-r) + 1e-4). Both at least 1e-4, before normalization. (AutoAWQ's two forms.)
enum class AwqForm { plain, duo };

/// Factors [n] of one candidate: x_mean [n] mean |x| of the channels, w_mean [n] as weight_means() gives. Tied for
/// `site` by `tie` and normalized.
std::vector<float> awq_factors(const FoldSite& site, AwqForm form, double ratio, TieBy tie,
                               std::span<const float> x_mean, std::span<const float> w_mean);

/// Mean over all rows of |w| relative to the largest |w| of the same row and group of columns; [n].
std::vector<float> weight_means(std::span<const SampledMatrix> matrices, int64_t n);

/// Searches all sites of a model. `choices`: target types in the order of gguf.tensors(). Without second moments (an
/// imatrix) the loss is that of uncorrelated inputs and |x| is taken as the root mean square; without held-out rows the
/// search's own measure decides. Sites that cannot be folded are skipped with the reason. Errors: as
/// Calibration::require_model, Calibration::second_moment and sample_site; resource_exhausted; cancelled.
FoldSearch search_awq(const GgufFile& gguf, const Calibration& calibration, std::span<const TypeChoice> choices,
                      const AwqSettings& settings, const ops::Backend& backend, const Task& task = {});

}  // namespace thimble
