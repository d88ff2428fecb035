// Writes the float reference of a model that exists only quantized: its de-quantized weights as F16, channels reordered
// (float_model.h), and proves on the result that the function is the same and the grid is gone.
// Usage: thimble_float_reference IN.gguf OUT.gguf [seed]
// Prints one JSON object. Exit status 1 when a check fails; the output is then removed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/json.h"
#include "bench/bench_program.h"
#include "model/model.h"
#include "quantization/float_model.h"

namespace {

using thimble::GgufFile;

constexpr int64_t kTokens = 48;
constexpr int64_t kRows = 16;  // of each matrix; k-quant search takes 100 ns per element
// Root mean square, of that of the logits. Only the order of float additions differs, but keys and values are rounded
// to f16, where a last bit is 5e-4. int8 activations would cost beyond 1e-2.
constexpr double kLogitTolerance = 1e-3;
// Of what rounding noise to the same type loses. Weights on their grid are below 0.1, shuffled ones between 0.8
// and 1.2.
constexpr double kLeastShare = 0.5;

std::vector<float> logits_of(const std::string& path, const std::vector<int32_t>& tokens) {
  const GgufFile gguf = GgufFile::open(path);
  const thimble::Model model(gguf, thimble::kernels::best_isa(thimble::host_cpu()));
  thimble::ThreadPool pool(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  thimble::KvCache cache(model.config(), thimble::ops::KvType::f16, kTokens);
  thimble::ForwardPass forward(model, pool, kTokens, kTokens);
  const auto logits = forward.run(tokens, 0, cache, thimble::LogitsFor::all);
  return {logits.begin(), logits.end()};
}

// Any ids will do: the two models are one function.
std::vector<int32_t> test_tokens(int64_t n_vocab) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < kTokens; ++i) tokens.push_back(static_cast<int32_t>((i * 7919 + 1) % n_vocab));
  return tokens;
}

thimble::Json run(const std::string& in_path, const std::string& out_path, uint64_t seed) {
  const GgufFile in = GgufFile::open(in_path);
  const thimble::ModelConfig config = thimble::read_model_config(in);
  thimble::bench::write_float_model(in, thimble::bench::draw_order(config, seed), out_path);
  const std::string plain_path = out_path + ".plain";  // channels as they were
  thimble::bench::write_float_model(in, thimble::bench::identity_order(config), plain_path);

  const auto tokens = test_tokens(config.n_vocab);
  const auto expected = logits_of(plain_path, tokens);
  const auto found = logits_of(out_path, tokens);
  double difference = 0, spread = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto logit = static_cast<double>(expected[i]);
    difference += (static_cast<double>(found[i]) - logit) * (static_cast<double>(found[i]) - logit);
    spread += logit * logit;
  }
  const double relative = std::sqrt(difference / spread);
  const auto before = thimble::bench::requantized_error(GgufFile::open(plain_path), in, kRows);
  const auto after = thimble::bench::requantized_error(GgufFile::open(out_path), in, kRows);
  std::filesystem::remove(plain_path);
  const bool same = relative <= kLogitTolerance;  // NaN fails
  const bool broken = after.share_of_noise >= kLeastShare;
  return {{"model", config.name},
          {"architecture", config.architecture},
          {"seed", seed},
          {"bytes", std::filesystem::file_size(out_path)},
          {"logits", expected.size()},
          {"relative_logit_difference", relative},
          {"same_function", same},
          {"requantized_error_in_order", before.overall},
          {"requantized_error", after.overall},
          {"smallest_share_of_noise_in_order", before.share_of_noise},
          {"smallest_share_of_noise", {{"tensor", after.tensor}, {"share", after.share_of_noise}}},
          {"grid_broken", broken}};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"The float reference of a model that exists only quantized", "thimble_float_reference"};
  std::string in, out;
  uint64_t seed = 1;
  app.add_option("IN", in)->required();
  app.add_option("OUT", out)->required();
  app.add_option("seed", seed)->capture_default_str();
  return thimble::bench::run_program(app, argc, argv, [&] {
    const auto report = run(in, out, seed);
    std::printf("%s\n", report.dump(2).c_str());
    if (report.at("same_function").get<bool>() && report.at("grid_broken").get<bool>()) return;
    std::filesystem::remove(out);
    fail(thimble::ErrorCode::internal, "{}: not the same function, or still on the grid of {}", out, in);
  });
}
