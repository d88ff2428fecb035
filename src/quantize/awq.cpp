// The AWQ search: candidates of one site, their losses, the decision.
#include "quantize/awq.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tensor/grid.h"

namespace thimble {

namespace {

constexpr size_t kMinGroup = 32;

struct AwqCandidate {
  std::string form;
  double ratio = 0.0;
  std::vector<float> factors;
  double loss = 0.0;
};

std::string form_name(const FoldSite& site, AwqForm form, TieBy tie) {
  std::string name = form == AwqForm::plain ? "plain" : "duo";
  if (site.n_rep > 1) name += tie == TieBy::mean ? ", mean of heads" : ", largest of heads";
  return name;
}

std::vector<AwqCandidate> make_candidates(const FoldSite& site, std::span<const float> x_mean,
                                          std::span<const float> w_mean, int n_grid) {
  std::vector<AwqCandidate> out;
  std::vector<TieBy> ties = {TieBy::mean};
  if (site.n_rep > 1) ties.push_back(TieBy::max);
  for (const AwqForm form : {AwqForm::plain, AwqForm::duo}) {
    for (const TieBy tie : ties) {
      // Plain at ratio 0 is identity, which is always there.
      for (int i = form == AwqForm::plain ? 1 : 0; i < n_grid; ++i) {
        const double ratio = static_cast<double>(i) / n_grid;
        out.push_back({form_name(site, form, tie), ratio, awq_factors(site, form, ratio, tie, x_mean, w_mean), 0.0});
      }
    }
  }
  return out;
}

/// One site: everything that candidates are measured with.
class SiteSearch {
 public:
  SiteSearch(const GgufFile& gguf, const Calibration& calibration, std::span<const TypeChoice> choices,
             const AwqSettings& settings, const ops::Backend& backend)
      : gguf_(&gguf), calibration_(&calibration), choices_(choices), settings_(&settings), backend_(backend) {}

  /// Adds to `out` what was found at `site`.
  void search(const FoldSite& site, const Task& task, FoldSearch* out) {
    const std::string& input = site.consumers[0];
    const InputStatistics* statistics = calibration_->find(input);
    if (statistics == nullptr || statistics->n_in != site.n) {
      out->skipped.push_back({site.kind, site.layer, fmt::format("{}: no statistics of its input", site.name())});
      return;
    }
    const auto matrices = sample_site(*gguf_, site, choices_, settings_->search_rows);
    if (matrices.empty()) {
      out->skipped.push_back({site.kind, site.layer, fmt::format("{}: its matrices stay floats", site.name())});
      return;
    }
    if (settings_->use_importance) importance_ = statistics->mean_square;
    measure_ = measure(*statistics, input);
    FoldChoice choice;
    choice.site = site.name();
    std::vector<AwqCandidate> best = compare(site, *statistics, matrices, task, &choice);
    decide(site, input, &best, &choice, out);
    out->choices.push_back(std::move(choice));
    calibration_->release(input);
  }

 private:
  InputMeasure measure(const InputStatistics& statistics, const std::string& input) {
    if (!calibration_->has_second_moment(input)) {
      return {InputMeasure::Kind::diagonal, statistics.mean_square.data(), 0};
    }
    moment_ = calibration_->second_moment(input);
    return {InputMeasure::Kind::second_moment, moment_.values.data(), 0};
  }

  static std::vector<float> mean_magnitudes(const InputStatistics& statistics) {
    if (!statistics.mean_abs.empty()) return statistics.mean_abs;
    std::vector<float> out = statistics.mean_square;  // an imatrix knows no more
    for (float& value : out) value = std::sqrt(value);
    return out;
  }

  /// The best candidates by the search's loss, identity left out.
  std::vector<AwqCandidate> compare(const FoldSite& site, const InputStatistics& statistics,
                                    std::span<const SampledMatrix> matrices, const Task& task, FoldChoice* choice) {
    const RoundRowsFn round = round_by_search(backend_);
    SiteLoss loss(backend_, matrices, importance_, measure_);
    const std::vector<float> ones(static_cast<size_t>(site.n), 1.0f);
    choice->loss_identity = choice->loss = loss.of(ones, round);
    std::vector<AwqCandidate> candidates =
        make_candidates(site, mean_magnitudes(statistics), weight_means(matrices, site.n), settings_->n_grid);
    for (AwqCandidate& candidate : candidates) {
      task.check(gguf_->source());
      candidate.loss = loss.of(candidate.factors, round);
    }
    std::erase_if(candidates, [&](const AwqCandidate& c) { return !(c.loss < choice->loss_identity); });
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const AwqCandidate& a, const AwqCandidate& b) { return a.loss < b.loss; });
    const auto n_kept = static_cast<size_t>(std::max(settings_->n_finalists, 1));
    if (candidates.size() > n_kept) candidates.resize(n_kept);
    return candidates;
  }

  void decide(const FoldSite& site, const std::string& input, std::vector<AwqCandidate>* finalists, FoldChoice* choice,
              FoldSearch* out) {
    choice->form = "identity";
    choice->final_identity = choice->final_loss = choice->loss_identity;
    if (finalists->empty()) return;
    const HeldOut heldout = calibration_->heldout(input);
    choice->heldout = heldout.n_rows >= kMinHeldOutRows && heldout.n_in == site.n;
    const InputMeasure measure =
        choice->heldout ? InputMeasure{InputMeasure::Kind::rows, heldout.rows, heldout.n_rows} : measure_;
    const auto matrices = sample_site(*gguf_, site, choices_, settings_->final_rows);
    const RoundRowsFn round = settings_->final_round ? settings_->final_round : round_by_search(backend_);
    SiteLoss loss(backend_, matrices, importance_, measure);
    choice->final_identity = loss.of(std::vector<float>(static_cast<size_t>(site.n), 1.0f), round);
    const AwqCandidate* best = nullptr;
    for (const AwqCandidate& candidate : *finalists) {
      const double value = loss.of(candidate.factors, round);
      if (best != nullptr && !(value < choice->final_loss)) continue;
      best = &candidate;
      choice->final_loss = value;
    }
    choice->form = best->form;
    choice->ratio = best->ratio;
    choice->loss = best->loss;
    choice->folded = choice->final_loss < choice->final_identity * (1.0 - settings_->min_gain);
    if (choice->folded) compose(&out->plan, plan_of_site(site, best->factors));
  }

  const GgufFile* gguf_;            // not owned
  const Calibration* calibration_;  // not owned
  std::span<const TypeChoice> choices_;
  const AwqSettings* settings_;  // not owned
  ops::Backend backend_;
  std::span<const float> importance_;
  SecondMoment moment_;
  InputMeasure measure_;
};

}  // namespace

std::vector<float> awq_factors(const FoldSite& site, AwqForm form, double ratio, TieBy tie,
                               std::span<const float> x_mean, std::span<const float> w_mean) {
  std::vector<float> s(x_mean.size());
  for (size_t i = 0; i < s.size(); ++i) {
    double factor = std::pow(static_cast<double>(x_mean[i]), ratio);
    if (form == AwqForm::duo) factor /= std::pow(static_cast<double>(w_mean[i]), 1.0 - ratio) + 1e-4;
    s[i] = static_cast<float>(std::max(factor, 1e-4));
  }
  tie_factors(site, tie, s);
  normalize_factors(s);
  return s;
}

std::vector<float> weight_means(std::span<const SampledMatrix> matrices, int64_t n) {
  const auto n_in = static_cast<size_t>(n);
  std::vector<double> sums(n_in, 0.0);
  size_t n_rows = 0;
  for (const SampledMatrix& matrix : matrices) {
    const GridTraits* grid = find_grid(matrix.type);
    const size_t group = std::max(kMinGroup, grid == nullptr ? kMinGroup : static_cast<size_t>(grid->sub_elems));
    for (size_t at = 0; at < matrix.rows.size(); at += n_in) {
      for (size_t first = 0; first < n_in; first += group) {
        const size_t end = std::min(first + group, n_in);
        float largest = 0.0f;
        for (size_t i = first; i < end; ++i) largest = std::max(largest, std::fabs(matrix.rows[at + i]));
        for (size_t i = first; i < end; ++i) {
          sums[i] += static_cast<double>(std::fabs(matrix.rows[at + i])) / (static_cast<double>(largest) + 1e-6);
        }
      }
      ++n_rows;
    }
  }
  std::vector<float> means(n_in);
  for (size_t i = 0; i < n_in; ++i) {
    means[i] = static_cast<float>(sums[i] / static_cast<double>(std::max<size_t>(n_rows, 1)));
  }
  return means;
}

FoldSearch search_awq(const GgufFile& gguf, const Calibration& calibration, std::span<const TypeChoice> choices,
                      const AwqSettings& settings, const ops::Backend& backend, const Task& task) {
  calibration.require_model(gguf);
  FoldSites places = fold_sites(read_model_config(gguf), gguf);
  FoldSearch out;
  out.skipped = std::move(places.skipped);
  SiteSearch search(gguf, calibration, choices, settings, backend);
  for (size_t i = 0; i < places.sites.size(); ++i) {
    const FoldSite& site = places.sites[i];
    task.report(i, places.sites.size(), site.name());
    task.check(gguf.source());
    if (std::find(settings.kinds.begin(), settings.kinds.end(), site.kind) == settings.kinds.end()) continue;
    search.search(site, task, &out);
  }
  say_fold_search(out, "awq", task);
  return out;
}

}  // namespace thimble
