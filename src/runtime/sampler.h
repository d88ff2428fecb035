// Sampling of the next token: repetition penalty, temperature, top-k, top-p, min-p, with a seeded generator whose
// sequence is fixed by this project (not by the standard library), so the same seed gives the same text everywhere.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace thimble {

struct SamplingParams {
  float temperature = 0.0f;  // 0: greedy
  int top_k = 40;            // 0: off
  float top_p = 0.95f;       // 1: off
  float min_p = 0.05f;       // 0: off
  float repetition_penalty = 1.0f;  // 1: off; divides positive and multiplies negative logits of recent tokens
  int repetition_window = 64;       // tokens looked back
  uint64_t seed = 0;
};

/// Errors: invalid_argument naming the parameter, for NaN, infinities and values outside their range.
void validate(const SamplingParams& params);

class Sampler {
 public:
  Sampler(const SamplingParams& params, int64_t n_vocab);
  /// Chooses from logits [n_vocab]; `recent` is the timeline. Ties go to the lowest id. NaN logits never win.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> recent) noexcept;

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  SamplingParams params_;
  uint64_t state_[4];  // xoshiro256**
  std::vector<Candidate> candidates_;
  std::vector<float> penalised_;
};

/// Index of the largest logit, lowest index on ties.
int32_t argmax(std::span<const float> logits) noexcept;

}  // namespace thimble
