// Sampling of the next token: repetition penalty, temperature, top-k, top-p, min-p, in this order, with a seeded
// generator whose sequence is fixed by this project (not by the standard library), so that the same seed gives the same
// text. A temperature of 0 is greedy: the filters are not looked at.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace thimble {

struct SamplingParams {
  float temperature = 0.0f;         // 0: greedy
  int top_k = 40;                   // 0: off
  float top_p = 0.95f;              // 1: off
  float min_p = 0.05f;              // 0: off
  float repetition_penalty = 1.0f;  // 1: off; divides positive and multiplies negative logits of recent tokens
  int repetition_window = 64;       // tokens looked back
  uint64_t seed = 0;
};

/// Errors: invalid_argument naming the parameter, for NaN, infinities and values outside their range.
void validate(const SamplingParams& params);

class Sampler {
 public:
  /// Errors: as validate().
  Sampler(const SamplingParams& params, int64_t n_vocab);
  /// Chooses from logits [n_vocab]; `recent` is the timeline. Ties go to the lowest id. NaN logits never win (all NaN:
  /// 0).
  int32_t sample(std::span<const float> logits, std::span<const int32_t> recent) noexcept;

 private:
  struct Candidate {
    float logit;  // later its weight: exp((logit - max) / temperature)
    int32_t id;
  };
  void penalise(std::span<const float> logits, std::span<const int32_t> recent) noexcept;
  void weigh(size_t n, float max_logit) noexcept;
  size_t filter(size_t n) noexcept;
  int32_t draw(size_t n) noexcept;

  SamplingParams params_;
  uint64_t state_[4];                  // xoshiro256**
  std::vector<Candidate> candidates_;  // room for n_vocab
  std::vector<float> penalised_;       // [n_vocab]
};

/// Index of the largest logit, lowest index on ties; NaN is passed over (0 when there is nothing else).
int32_t argmax(std::span<const float> logits) noexcept;

}  // namespace thimble
