// Prints what factoring the damped second moment of n inputs costs, the greater part of second-order rounding where n
// is large: seconds on each instruction set of this machine, the best of three.
//
// Usage: thimble_factor_bench N [THREADS [ISA]]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "bench/bench_program.h"
#include "quantize/linear_algebra.h"

namespace thimble {
namespace {

// The identity and a few directions that all inputs share.
std::vector<float> example_moment(int64_t n) {
  constexpr int64_t kShared = 4;
  SplitMix64 random(1);
  std::vector<float> directions(static_cast<size_t>(kShared * n));
  for (float& x : directions) x = static_cast<float>(random.uniform() - 0.5);
  std::vector<float> h(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) {
    float* const row = h.data() + i * n;
    row[i] = 1.0f;
    for (int64_t s = 0; s < kShared; ++s) {
      const float* const direction = directions.data() + s * n;
      for (int64_t j = 0; j < n; ++j) row[j] += direction[i] * direction[j];
    }
  }
  return h;
}

void measure_all(int64_t n, int n_threads, std::string_view only_isa) {
  using Clock = std::chrono::steady_clock;
  const std::vector<float> h = example_moment(n);
  ThreadPool pool(n_threads);
  for (const kernels::Isa isa :
       {kernels::Isa::scalar, kernels::Isa::avx2, kernels::Isa::avx512_vnni, kernels::Isa::neon}) {
    if (!kernels::supports(host_cpu(), isa)) continue;
    if (!only_isa.empty() && only_isa != kernels::isa_name(isa)) continue;
    const ops::Backend backend = ops::make_backend(pool, isa);
    double best = 1e9;
    for (int repetition = 0; repetition < 3; ++repetition) {
      const Clock::time_point start = Clock::now();
      if (!factor_second_moment(h.data(), n, 0.01, backend)) {
        fail(ErrorCode::internal, "the moment of the example is not positive definite");
      }
      best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
    }
    const double operations = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / 3.0;
    fmt::print("{:<12} {} threads: {} inputs in {:.3f} s, {:.1f} GFLOP/s\n", kernels::isa_name(isa), n_threads, n, best,
               1e-9 * operations / best);
  }
}

}  // namespace
}  // namespace thimble

int main(int argc, char** argv) {
  CLI::App app{"What factoring the damped second moment of N inputs costs", "thimble_factor_bench"};
  int64_t n = 0;
  int threads = 1;
  std::string isa;
  thimble::bench::add_count(app, "N", n)->required();
  thimble::bench::add_threads(app, threads);
  thimble::bench::add_isa(app, isa);
  return thimble::bench::run_program(app, argc, argv, [&] { thimble::measure_all(n, threads, isa); });
}
