// models/nano against tests/golden/nano: logits, arg max, greedy continuation and likelihood from an independent
// double-precision forward pass over the Hugging Face weights (tests/golden/nano/README.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/cpu.h"
#include "base/file.h"
#include "base/json.h"
#include "model/model.h"

namespace thimble {
namespace {

const std::string kGolden = THIMBLE_SOURCE_DIR "/tests/golden/nano/";

struct Nano {
  Nano() : gguf(GgufFile::open(THIMBLE_BINARY_DIR "/nano-f16.gguf")), model(gguf, kernels::best_isa(host_cpu())) {}
  GgufFile gguf;
  Model model;
  ThreadPool pool{2};
  KvCache cache{model.config(), ops::KvType::f16, 128};
  ForwardPass forward{model, pool, 64, 128};
};

std::vector<float> read_floats(const std::string& path) {
  const MappedFile file(path);
  std::vector<float> out(file.bytes().size() / sizeof(float));
  std::memcpy(out.data(), file.bytes().data(), out.size() * sizeof(float));
  return out;
}

int32_t largest(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double log_likelihood(std::span<const float> logits, int32_t id) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - top));
  return static_cast<double>(logits[static_cast<size_t>(id)] - top) - std::log(sum);
}

TEST(SlowNano, LogitsEqualTheGoldenOnes) {
  const Json reference = read_json_file(kGolden + "reference.json", 1 << 20);
  ASSERT_EQ(reference.size(), 3u);
  for (const Json& text : reference) {
    Nano nano;
    const auto ids = text.at("ids").get<std::vector<int32_t>>();
    const auto logits = nano.forward.run(ids, 0, nano.cache, LogitsFor::all);
    const auto n_vocab = static_cast<size_t>(nano.model.config().n_vocab);
    const auto want = read_floats(kGolden + text.at("last_logits").get<std::string>());
    ASSERT_EQ(want.size(), n_vocab);

    // The weights are halves there too: only keys and values are rounded to halves (relative error 2^-12 on average)
    // and sums to floats. Logits reach 15: 15 * 2^-12 = 0.004, of which the average over positions leaves less.
    const auto last = logits.last(n_vocab);
    double worst = 0, nll = 0;
    for (size_t i = 0; i < n_vocab; ++i) worst = std::max(worst, std::abs(static_cast<double>(last[i] - want[i])));
    EXPECT_LT(worst, 0.004) << text.at("text");

    const auto argmax = text.at("argmax").get<std::vector<int32_t>>();
    for (size_t t = 0; t < ids.size(); ++t) {
      EXPECT_EQ(largest(logits.subspan(t * n_vocab, n_vocab)), argmax[t]) << "position " << t;
      if (t + 1 < ids.size()) nll -= log_likelihood(logits.subspan(t * n_vocab, n_vocab), ids[t + 1]);
    }
    EXPECT_NEAR(nll / static_cast<double>(ids.size() - 1), text.at("mean_nll").get<double>(), 1e-4);
  }
}

TEST(SlowNano, GreedyContinuationEqualsTheGoldenOne) {
  for (const Json& text : read_json_file(kGolden + "reference.json", 1 << 20)) {
    Nano nano;
    auto ids = text.at("ids").get<std::vector<int32_t>>();
    const auto want = text.at("greedy_next_24").get<std::vector<int32_t>>();
    auto logits = nano.forward.run(ids, 0, nano.cache, LogitsFor::last);
    std::vector<int32_t> got;
    for (size_t i = 0; i < want.size(); ++i) {
      got.push_back(largest(logits));
      logits = nano.forward.run(std::span(&got.back(), 1), static_cast<int64_t>(ids.size() + i), nano.cache,
                                LogitsFor::last);
    }
    EXPECT_EQ(got, want) << text.at("text");
  }
}

}  // namespace
}  // namespace thimble
