// Prints what encoding costs on one thread: nanoseconds per weight of every block-quantized type and instruction set of
// this machine, without and with importance, and the part of it that rounding and packing take beside the search.
// Usage: thimble_quantize_bench [type] [isa]. Time of the thread, the best of seven, so that other programs disturb
// little.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "bench/bench_program.h"
#include "kernels/grid_fit.h"

namespace {

using thimble::kernels::Isa;

constexpr int64_t kRows = 16;
constexpr int64_t kColumns = 2048;

double thread_seconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <typename Work>
double best_nanoseconds(const Work& work) {
  double best = 1e9;
  for (int repetition = 0; repetition < 7; ++repetition) {
    const double start = thread_seconds();
    work();
    best = std::min(best, thread_seconds() - start);
  }
  return best * 1e9 / static_cast<double>(kRows * kColumns);
}

void print_type(const thimble::TypeTraits& type, Isa isa, const std::vector<float>& x,
                const std::vector<float>& importance) {
  std::vector<std::byte> out(x.size() * sizeof(float));
  std::vector<thimble::BlockGrid> grids(x.size() / type.block_elems);
  const thimble::EncodeRowsFn encode = thimble::kernels::select_encode_rows(type.type, isa);
  const thimble::FitBlocksFn fit = thimble::kernels::select_fit_blocks(type.type, isa);
  const double plain = best_nanoseconds([&] { encode(x.data(), nullptr, kRows, kColumns, out.data()); });
  const double weighted = best_nanoseconds([&] { encode(x.data(), importance.data(), kRows, kColumns, out.data()); });
  const double search =
      best_nanoseconds([&] { fit(x.data(), type.block_elems, nullptr, 0, std::ssize(grids), grids.data()); });
  std::printf("%-8s %-12s %8.2f %8.2f %8.2f\n", type.name.data(), thimble::kernels::isa_name(isa).data(), plain,
              weighted, plain - search);
}

// Empty names stand for all.
void measure_all(std::string_view only_type, std::string_view only_isa) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(kRows * kColumns);
  std::vector<float> importance(kColumns);
  for (float& value : x) value = 0.05f * normal(random);
  for (float& value : importance) {
    const float z = normal(random);
    value = 0.05f + z * z;
  }
  std::printf("ns/weight, one thread: no importance, importance, of that rounding and packing\n");
  for (const thimble::FitSpec& spec : thimble::kFitSpecs) {
    const thimble::TypeTraits& type = thimble::traits(spec.type);
    if (!only_type.empty() && only_type != type.name) continue;
    for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512_vnni, Isa::neon}) {
      if (!thimble::kernels::supports(thimble::host_cpu(), isa)) continue;
      if (!only_isa.empty() && only_isa != thimble::kernels::isa_name(isa)) continue;
      print_type(type, isa, x, importance);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"What encoding costs on one thread", "thimble_quantize_bench"};
  std::string type, isa;
  std::vector<std::string> types;
  for (const thimble::FitSpec& spec : thimble::kFitSpecs) types.emplace_back(thimble::traits(spec.type).name);
  app.add_option("type", type)->check(CLI::IsMember(types));
  thimble::bench::add_isa(app, isa);
  return thimble::bench::run_program(app, argc, argv, [&] { measure_all(type, isa); });
}
