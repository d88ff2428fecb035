// The order is: repetition penalty, temperature, top-k, top-p, min-p, then one draw. Filters after the temperature see
// the probabilities that will be drawn from. All buffers are taken at construction.
#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/random.h"

namespace thimble {

namespace {

uint64_t rotate_left(uint64_t x, int k) noexcept {
  return (x << k) | (x >> (64 - k));
}

// xoshiro256** (Blackman, Vigna 2018, public domain).
uint64_t xoshiro256(uint64_t (&s)[4]) noexcept {
  const uint64_t result = rotate_left(s[1] * 5, 7) * 9;
  const uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate_left(s[3], 45);
  return result;
}

void check_range(const char* name, float value, float min, float max) {
  if (std::isfinite(value) && value >= min && value <= max) return;
  fail(ErrorCode::invalid_argument, "{}: found {}, expected a number from {} to {}", name, value, min, max);
}

}  // namespace

void validate(const SamplingParams& params) {
  check_range("temperature", params.temperature, 0.0f, 100.0f);
  check_range("top_p", params.top_p, 0.0f, 1.0f);
  check_range("min_p", params.min_p, 0.0f, 1.0f);
  check_range("repetition_penalty", params.repetition_penalty, 0.01f, 100.0f);
  if (params.top_k < 0) {
    fail(ErrorCode::invalid_argument, "top_k: found {}, expected 0 (off) or more", params.top_k);
  }
  if (params.repetition_window < 0) {
    fail(ErrorCode::invalid_argument, "repetition_window: found {}, expected 0 or more", params.repetition_window);
  }
}

int32_t argmax(std::span<const float> logits) noexcept {
  int32_t best = 0;
  float best_logit = -std::numeric_limits<float>::infinity();
  bool found = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    // The first number is taken even when it is -inf; NaN compares false and is passed over.
    if (logits[i] > best_logit || (!found && !std::isnan(logits[i]))) {
      best = static_cast<int32_t>(i);
      best_logit = logits[i];
      found = true;
    }
  }
  return best;
}

Sampler::Sampler(const SamplingParams& params, int64_t n_vocab) : params_(params) {
  validate(params);
  SplitMix64 seeds(params.seed);  // as the authors of xoshiro256** advise (prng.di.unimi.it)
  for (uint64_t& word : state_) word = seeds.next();
  candidates_.resize(static_cast<size_t>(n_vocab));
  penalised_.resize(static_cast<size_t>(n_vocab));
}

void Sampler::penalise(std::span<const float> logits, std::span<const int32_t> recent) noexcept {
  std::copy(logits.begin(), logits.end(), penalised_.begin());
  const size_t window = std::min(recent.size(), static_cast<size_t>(params_.repetition_window));
  for (const int32_t id : recent.last(window)) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    // From the unpenalised logit, so that a token seen twice is penalised once.
    const float logit = logits[static_cast<size_t>(id)];
    penalised_[static_cast<size_t>(id)] =
        logit > 0.0f ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
  }
}

// Turns the logits of candidates_[0, n) into weights relative to the most likely one, at the given temperature.
void Sampler::weigh(size_t n, float max_logit) noexcept {
  for (size_t i = 0; i < n; ++i) {
    candidates_[i].logit = std::exp((candidates_[i].logit - max_logit) / params_.temperature);
  }
}

// Candidates left of the first n (sorted by weight when top_k or top_p is on) after top-p and min-p.
size_t Sampler::filter(size_t n) noexcept {
  if (params_.top_p < 1.0f) {
    double sum = 0.0;
    for (size_t i = 0; i < n; ++i) sum += candidates_[i].logit;
    double kept = 0.0;
    for (size_t i = 0; i < n; ++i) {
      kept += candidates_[i].logit;
      if (kept >= params_.top_p * sum) {
        n = i + 1;
        break;
      }
    }
  }
  if (params_.min_p > 0.0f) {
    // Weights are relative to the most likely candidate, whose weight is 1: it always stays.
    const auto end = std::remove_if(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(n),
                                    [&](const Candidate& c) { return c.logit < params_.min_p; });
    n = static_cast<size_t>(end - candidates_.begin());
  }
  return n;
}

int32_t Sampler::draw(size_t n) noexcept {
  double sum = 0.0;
  for (size_t i = 0; i < n; ++i) sum += candidates_[i].logit;
  const double uniform = static_cast<double>(xoshiro256(state_) >> 11) * 0x1p-53;  // [0, 1)
  double left = uniform * sum;
  for (size_t i = 0; i < n; ++i) {
    left -= candidates_[i].logit;
    if (left < 0.0) return candidates_[i].id;
  }
  return candidates_[n - 1].id;  // rounding used up the last step
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> recent) noexcept {
  if (params_.repetition_penalty != 1.0f) {
    penalise(logits, recent);
    logits = penalised_;
  }
  const int32_t best = argmax(logits);
  const float max_logit = logits[static_cast<size_t>(best)];
  // An infinite logit leaves no proportions to draw from.
  if (params_.temperature == 0.0f || !std::isfinite(max_logit)) return best;

  size_t n = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isnan(logits[i])) candidates_[n++] = {logits[i], static_cast<int32_t>(i)};
  }
  const auto more_likely = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  const auto begin = candidates_.begin();
  const size_t top_k = static_cast<size_t>(params_.top_k);
  if (top_k > 0 && top_k < n) {
    const auto kth = begin + static_cast<std::ptrdiff_t>(top_k);
    std::nth_element(begin, kth, begin + static_cast<std::ptrdiff_t>(n), more_likely);
    n = top_k;
  }
  if (n < logits.size() || params_.top_p < 1.0f) {
    std::sort(begin, begin + static_cast<std::ptrdiff_t>(n), more_likely);
  }
  weigh(n, max_logit);
  return draw(filter(n));
}

}  // namespace thimble
