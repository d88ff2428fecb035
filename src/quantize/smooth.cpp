// The SmoothQuant search. The engine's rounding of activations is not imitated: blocks are encoded and multiplied by
// the very kernels that will run the model.
#include "quantize/smooth.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace thimble {

namespace {

constexpr float kMinMagnitude = 1e-5f;

/// max |w| of each column over all consumers; [n].
std::vector<float> column_maxima(const GgufFile& gguf, const FoldSite& site) {
  const auto n = static_cast<size_t>(site.n);
  std::vector<float> maxima(n, 0.0f), row(n);
  for (const std::string& name : site.consumers) {
    const TensorView& view = gguf.tensor(name).view;
    for (int64_t r = 0; r < view.n_rows(); ++r) {
      traits(view.type).decode(view.row(r), row.data(), site.n);
      for (size_t i = 0; i < n; ++i) maxima[i] = std::max(maxima[i], std::fabs(row[i]));
    }
  }
  return maxima;
}

void round_to_int8(std::span<float> x) noexcept {
  float largest = 0.0f;
  for (const float value : x) largest = std::max(largest, std::fabs(value));
  if (largest == 0.0f) return;
  const float scale = largest / 127.0f;
  for (float& value : x) value = std::nearbyint(value / scale) * scale;
}

/// Every other row of x [n_rows, n], from `first`.
std::vector<float> every_other(const HeldOut& x, int64_t first) {
  std::vector<float> out;
  for (int64_t t = first; t < x.n_rows; t += 2) out.insert(out.end(), x.row(t), x.row(t) + x.n_in);
  return out;
}

}  // namespace

std::vector<float> smooth_factors(const FoldSite& site, double alpha, std::span<const float> x_max,
                                  std::span<const float> w_max) {
  std::vector<float> s(x_max.size());
  for (size_t i = 0; i < s.size(); ++i) {
    const auto x = static_cast<double>(std::max(x_max[i], kMinMagnitude));
    const auto w = static_cast<double>(std::max(w_max[i], kMinMagnitude));
    s[i] = static_cast<float>(std::max(std::pow(x, alpha) / std::pow(w, 1.0 - alpha), 1e-5));
  }
  tie_factors(site, TieBy::max, s);
  normalize_factors(s);
  return s;
}

SmoothLoss::SmoothLoss(const ops::Backend& backend, std::span<const SampledMatrix> matrices,
                       ActivationRounding activations, std::span<const float> x)
    : backend_(backend),
      matrices_(matrices),
      activations_(activations),
      x_(x),
      n_(static_cast<int64_t>(matrices[0].rows.size()) / matrices[0].n_rows),
      n_tokens_(static_cast<int64_t>(x.size()) / n_),
      folded_x_(x.size()),
      scratch_(n_tokens_, n_) {
  for (const SampledMatrix& matrix : matrices) {
    exact_.emplace_back(static_cast<size_t>(n_tokens_ * matrix.n_rows));
    TensorView view;
    view.ne = {n_, matrix.n_rows, 1, 1};
    view.data = std::as_bytes(std::span(matrix.rows));
    multiply(view, x.data(), exact_.back().data());
    folded_w_.resize(std::max(folded_w_.size(), matrix.rows.size()));
    products_.resize(std::max(products_.size(), exact_.back().size()));
  }
}

void SmoothLoss::multiply(const TensorView& weights, const float* x, float* out) {
  const ops::Weight weight = ops::prepare_weight(weights, backend_.isa);
  const ops::MatmulOutput output = {&weight, out};
  ops::matmul(backend_, {&output, 1}, x, n_tokens_, scratch_);
}

void SmoothLoss::fold_inputs_and_round(std::span<const float> s) {
  std::copy(x_.begin(), x_.end(), folded_x_.begin());
  fold_inputs(s, folded_x_.data(), n_tokens_);
  if (activations_ == ActivationRounding::engine) return;  // matmul() does it
  for (int64_t t = 0; t < n_tokens_; ++t) {
    round_to_int8(std::span(folded_x_).subspan(static_cast<size_t>(t * n_), static_cast<size_t>(n_)));
  }
}

double SmoothLoss::of(std::span<const float> s) {
  fold_inputs_and_round(s);
  double sum = 0.0;
  for (size_t m = 0; m < matrices_.size(); ++m) {
    const SampledMatrix& matrix = matrices_[m];
    const TypeTraits& type = traits(matrix.type);
    const auto row_bytes = static_cast<size_t>(n_) / type.block_elems * type.block_bytes;
    blocks_.resize(row_bytes * static_cast<size_t>(matrix.n_rows));
    const bool engine = activations_ == ActivationRounding::engine;
    backend_.pool->parallel_for(matrix.n_rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        float* const row = folded_w_.data() + r * n_;
        std::byte* const blocks = blocks_.data() + static_cast<size_t>(r) * row_bytes;
        for (int64_t i = 0; i < n_; ++i) {
          row[i] = matrix.rows[static_cast<size_t>(r * n_ + i)] * s[static_cast<size_t>(i)];
        }
        type.encode(row, nullptr, blocks, n_);
        if (!engine) type.decode(blocks, row, n_);
      }
    });
    TensorView view;
    view.type = engine ? matrix.type : TensorType::f32;
    view.ne = {n_, matrix.n_rows, 1, 1};
    view.data = engine ? std::span<const std::byte>(blocks_)
                       : std::as_bytes(std::span(folded_w_).first(static_cast<size_t>(matrix.n_rows * n_)));
    multiply(view, folded_x_.data(), products_.data());
    double error = 0.0, energy = 0.0;
    for (size_t i = 0; i < exact_[m].size(); ++i) {
      const auto exact = static_cast<double>(exact_[m][i]);
      const double difference = static_cast<double>(products_[i]) - exact;
      error += difference * difference;
      energy += exact * exact;
    }
    sum += energy > 0.0 ? error / energy : 0.0;
  }
  return sum / static_cast<double>(matrices_.size());
}

namespace {

/// The exponent whose factors have the smallest error, and that error; identity is not among them.
FoldChoice best_alpha(const FoldSite& site, SmoothLoss* loss, std::span<const float> x_max,
                      std::span<const float> w_max, double step) {
  FoldChoice choice;
  choice.site = site.name();
  choice.form = "smooth";
  choice.loss_identity = loss->of(std::vector<float>(static_cast<size_t>(site.n), 1.0f));
  choice.loss = std::numeric_limits<double>::infinity();
  const auto n_steps = static_cast<int>(std::lround(1.0 / step));
  for (int i = 0; i <= n_steps; ++i) {
    const double alpha = static_cast<double>(i) / n_steps;
    const double value = loss->of(smooth_factors(site, alpha, x_max, w_max));
    if (!(value < choice.loss)) continue;
    choice.loss = value;
    choice.ratio = alpha;
  }
  return choice;
}

class SmoothSearch {
 public:
  SmoothSearch(const GgufFile& gguf, const Calibration& calibration, std::span<const TypeChoice> choices,
               const SmoothSettings& settings, const ops::Backend& backend)
      : gguf_(&gguf), calibration_(&calibration), choices_(choices), settings_(&settings), backend_(backend) {}

  bool wants(FoldKind kind) const {
    return std::find(settings_->kinds.begin(), settings_->kinds.end(), kind) != settings_->kinds.end();
  }

  /// Adds to `out` what was found at `site`.
  void search(const FoldSite& site, FoldSearch* out) const {
    const std::string& input = site.consumers[0];
    const InputStatistics* statistics = calibration_->find(input);
    const HeldOut heldout = calibration_->heldout(input);
    const auto matrices = sample_site(*gguf_, site, choices_, settings_->rows);
    std::string_view obstacle;
    if (matrices.empty()) {
      obstacle = "its matrices stay floats";
    } else if (statistics == nullptr || statistics->max_abs.size() != static_cast<size_t>(site.n)) {
      obstacle = "no maxima of its input";
    } else if (heldout.n_rows < kMinHeldOutRows || heldout.n_in != site.n) {
      obstacle = "no held-out rows of its input";
    }
    if (!obstacle.empty()) {
      out->skipped.push_back({site.kind, site.layer, fmt::format("{}: {}", site.name(), obstacle)});
      return;
    }
    choose(site, statistics->max_abs, matrices, heldout, out);
    calibration_->release(input);
  }

 private:
  void choose(const FoldSite& site, std::span<const float> x_max, std::span<const SampledMatrix> matrices,
              const HeldOut& heldout, FoldSearch* out) const {
    const std::vector<float> chosen_on = every_other(heldout, 0), decided_on = every_other(heldout, 1);
    const std::vector<float> w_max = column_maxima(*gguf_, site);
    SmoothLoss search(backend_, matrices, settings_->activations, chosen_on);
    FoldChoice choice = best_alpha(site, &search, x_max, w_max, settings_->alpha_step);
    SmoothLoss decision(backend_, matrices, settings_->activations, decided_on);
    const std::vector<float> factors = smooth_factors(site, choice.ratio, x_max, w_max);
    choice.final_identity = decision.of(std::vector<float>(factors.size(), 1.0f));
    choice.final_loss = decision.of(factors);
    choice.heldout = true;
    choice.folded =
        choice.loss < choice.loss_identity && choice.final_loss < choice.final_identity * (1.0 - settings_->min_gain);
    if (choice.folded) compose(&out->plan, plan_of_site(site, factors));
    out->choices.push_back(std::move(choice));
  }

  const GgufFile* gguf_;            // not owned
  const Calibration* calibration_;  // not owned
  std::span<const TypeChoice> choices_;
  const SmoothSettings* settings_;  // not owned
  ops::Backend backend_;
};

}  // namespace

FoldSearch search_smooth(const GgufFile& gguf, const Calibration& calibration, std::span<const TypeChoice> choices,
                         const SmoothSettings& settings, const ops::Backend& backend, const Task& task) {
  if (!(settings.alpha_step > 0.0 && settings.alpha_step <= 1.0)) {
    fail(ErrorCode::invalid_argument, "smooth: found an alpha step of {}, expected one in (0, 1]", settings.alpha_step);
  }
  calibration.require_model(gguf);
  FoldSites places = fold_sites(read_model_config(gguf), gguf);
  FoldSearch out;
  const SmoothSearch search(gguf, calibration, choices, settings, backend);
  for (SkippedFold& skipped : places.skipped) {
    if (search.wants(skipped.kind)) out.skipped.push_back(std::move(skipped));
  }
  for (size_t i = 0; i < places.sites.size(); ++i) {
    task.report(i, places.sites.size(), places.sites[i].name());
    task.check(gguf.source());
    if (search.wants(places.sites[i].kind)) search.search(places.sites[i], &out);
  }
  say_fold_search(out, "smooth", task);
  return out;
}

}  // namespace thimble
