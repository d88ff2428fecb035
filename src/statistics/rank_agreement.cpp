// Pairs of candidates, counted on the data and on resampled clusters.
#include "statistics/rank_agreement.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "statistics/paired_tests.h"
#include "statistics/resampling.h"

namespace thimble {

namespace {

struct Pair {
  size_t a, b;
};

// Means equal but for the rounding of their sums are ties.
int order(double x, double y) noexcept {
  const double near = 1e-9 * std::max({1.0, std::abs(x), std::abs(y)});
  return x > y + near ? 1 : (x < y - near ? -1 : 0);
}

Disagreement count(std::span<const Pair> pairs, std::span<const double> loss, std::span<const double> mean) {
  Disagreement out;
  for (const Pair& p : pairs) {
    const int by_loss = -order(loss[p.a], loss[p.b]);
    const int by_score = order(mean[p.a], mean[p.b]);
    if (by_loss == 0 || by_score == 0) {
      ++out.tied;
      continue;
    }
    ++out.pairs;
    out.disagree += by_loss != by_score;
  }
  if (out.pairs > 0) out.rate = static_cast<double>(out.disagree) / static_cast<double>(out.pairs);
  return out;
}

double tau(std::span<const double> x, std::span<const double> y) {
  int64_t score = 0, x_untied = 0, y_untied = 0;
  for (size_t a = 0; a < x.size(); ++a) {
    for (size_t b = a + 1; b < x.size(); ++b) {
      const int i = order(x[a], x[b]), j = order(y[a], y[b]);
      score += i * j;
      x_untied += i != 0;
      y_untied += j != 0;
    }
  }
  if (x_untied == 0 || y_untied == 0) return 0;
  return static_cast<double>(score) / std::sqrt(static_cast<double>(x_untied) * static_cast<double>(y_untied));
}

// Sums of the scores by candidate and cluster, and items by cluster.
struct Sums {
  std::vector<std::vector<double>> by_candidate;
  std::vector<double> items;

  Sums(std::span<const std::vector<double>> scores, std::span<const std::string> clusters) {
    const std::vector<size_t> index = cluster_indices(clusters);
    const size_t k = index.empty() ? 0 : *std::max_element(index.begin(), index.end()) + 1;
    items.assign(k, 0.0);
    for (const size_t i : index) items[i] += 1;
    for (const std::vector<double>& s : scores) {
      std::vector<double>& sums = by_candidate.emplace_back(k, 0.0);
      for (size_t i = 0; i < s.size(); ++i) sums[index[i]] += s[i];
    }
  }

  // Means of all candidates when cluster i is taken times[i] times.
  void means(std::span<const double> times, std::span<double> out) const {
    double n = 0;
    for (size_t i = 0; i < items.size(); ++i) n += times[i] * items[i];
    for (size_t c = 0; c < out.size(); ++c) {
      double sum = 0;
      for (size_t i = 0; i < items.size(); ++i) sum += times[i] * by_candidate[c][i];
      out[c] = sum / n;
    }
  }
};

void set_interval(std::vector<double>& values, double confidence, double& low, double& high) {
  if (values.empty()) return;
  std::sort(values.begin(), values.end());
  low = sorted_quantile(values, (1 - confidence) / 2);
  high = sorted_quantile(values, (1 + confidence) / 2);
}

// No resample disagrees where no pair is near: the exact binomial bound for that many pairs instead of a point.
void widen_at_the_ends(Disagreement& d, double confidence) {
  if (d.pairs == 0) return;
  const double unseen = 1 - std::pow((1 - confidence) / 2, 1 / static_cast<double>(d.pairs));
  if (d.disagree == 0) d.high = std::max(d.high, unseen);
  if (d.disagree == d.pairs) d.low = std::min(d.low, 1 - unseen);
}

void check(size_t n, std::span<const std::vector<double>> scores, size_t items) {
  if (scores.size() != n) {
    fail(ErrorCode::invalid_argument, "rank agreement: found {} losses and {} rows of scores, expected equal numbers",
         n, scores.size());
  }
  for (const std::vector<double>& s : scores) {
    if (s.size() == items && items > 0) continue;
    fail(ErrorCode::invalid_argument, "rank agreement: found {} scores for {} items, expected as many and some",
         s.size(), items);
  }
}

}  // namespace

double kendall_tau_b(std::span<const double> x, std::span<const double> y) {
  if (x.size() != y.size()) {
    fail(ErrorCode::invalid_argument, "Kendall's tau: found {} and {} values, expected equal numbers", x.size(),
         y.size());
  }
  return tau(x, y);
}

RankAgreement rank_agreement(std::span<const double> loss, std::span<const std::vector<double>> scores,
                             std::span<const std::string> clusters, const RankSettings& settings) {
  check(loss.size(), scores, clusters.size());
  std::vector<Pair> all, significant;
  for (size_t a = 0; a < loss.size(); ++a) {
    for (size_t b = a + 1; b < loss.size(); ++b) {
      all.push_back({a, b});
      const PairedSample sample = paired_sample(scores[a], scores[b], clusters);
      if (sign_flip_p(sample, settings.resamples, settings.seed) <= 1 - settings.confidence) {
        significant.push_back({a, b});
      }
    }
  }
  std::vector<double> closeness(loss.begin(), loss.end());
  for (double& v : closeness) v = -v;
  RankAgreement out;
  if (all.empty()) return out;
  const Sums sums(scores, clusters);
  std::vector<double> times(sums.items.size(), 1.0), mean(loss.size());
  sums.means(times, mean);
  out.all = count(all, loss, mean);
  out.significant = count(significant, loss, mean);
  out.tau_b = tau(closeness, mean);
  std::vector<double> rates, significant_rates, taus;
  SplitMix64 generator(settings.seed);
  for (int r = 0; r < settings.resamples; ++r) {
    std::fill(times.begin(), times.end(), 0.0);
    for (size_t i = 0; i < times.size(); ++i) times[generator.below(times.size())] += 1;
    sums.means(times, mean);
    const Disagreement drawn = count(all, loss, mean);
    if (drawn.pairs > 0) rates.push_back(drawn.rate);
    const Disagreement certain = count(significant, loss, mean);
    if (certain.pairs > 0) significant_rates.push_back(certain.rate);
    taus.push_back(tau(closeness, mean));
  }
  set_interval(rates, settings.confidence, out.all.low, out.all.high);
  set_interval(significant_rates, settings.confidence, out.significant.low, out.significant.high);
  widen_at_the_ends(out.all, settings.confidence);
  widen_at_the_ends(out.significant, settings.confidence);
  set_interval(taus, settings.confidence, out.tau_low, out.tau_high);
  return out;
}

}  // namespace thimble
